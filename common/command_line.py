"""The one ``fedward`` command: collects each room's subcommand and turns errors into exit codes.

A room enters its subcommand in the entry points of group ``fedward.commands``: a Typer app, a
Click command or a plain function. A Typer app with one command and no callback becomes that
command (``fedward simulate FILE``); any other becomes a group (``fedward study check FILE``).
A subcommand is imported when it is named, so that ``fedward study`` does not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click
import typer

from fedward.common.errors import FedwardError

COMMANDS_GROUP = "fedward.commands"
USAGE_ERROR = 2
INTERRUPTED = 130


class RoomCommands(click.Group):
    """A group whose subcommands are entry points, loaded one by one when they are named."""

    def __init__(self, rooms: Mapping[str, EntryPoint], **settings: Any) -> None:
        super().__init__(**settings)
        self.rooms = rooms

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all subcommands, sorted; loads none."""
        return sorted(self.rooms)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one subcommand; None if there is none of that name."""
        if cmd_name not in self.rooms:
            return None
        return _as_command(self.rooms[cmd_name])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands; one that cannot be imported must not hide the others."""
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
                summary = command.get_short_help_str(formatter.width) if command else ""
            except ImportError as error:
                summary = f"(cannot be loaded: {error})"
            rows.append((name, summary))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def installed_rooms() -> dict[str, EntryPoint]:
    """The entry points of all subcommands that are installed, by name; imports none."""
    return {entry.name: entry for entry in entry_points(group=COMMANDS_GROUP)}


def root_command(rooms: Mapping[str, EntryPoint]) -> click.Command:
    """The ``fedward`` command with these subcommands."""
    root = RoomCommands(
        rooms,
        name="fedward",
        help="Federated learning for hospitals in which only noised sums leave the ward.",
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
    )
    return click.version_option(version("fedward"), prog_name="fedward")(root)


def run(
    arguments: Sequence[str] | None = None, *, rooms: Mapping[str, EntryPoint] | None = None
) -> int:
    """Run the command line (None: the process's own) and give its exit code.

    2 for what the user can mend (each problem a line "error: ..." on stderr), 130 after Ctrl-C,
    else what the command says. Any other exception is a fault of ours and propagates.
    """
    try:
        result = root_command(installed_rooms() if rooms is None else rooms).main(
            args=None if arguments is None else list(arguments),
            prog_name="fedward",
            standalone_mode=False,
        )
    except FedwardError as error:
        _complain(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE_ERROR
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        # Typer puts the suggestion into the message already, and Click would add it again.
        message = str(error.message)
        _complain(message if "Did you mean" in message else error.format_message())
        if context is not None:
            print(f"Try '{context.command_path} --help'.", file=sys.stderr)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the ``fedward`` script."""
    sys.exit(run())


def _as_command(entry: EntryPoint) -> click.Command:
    loaded = entry.load()
    if isinstance(loaded, click.Command):
        command = loaded
    elif isinstance(loaded, typer.Typer):
        loaded.pretty_exceptions_enable = False
        command = typer.main.get_command(loaded)
    else:
        single = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        single.command()(loaded)
        command = typer.main.get_command(single)
    command.name = entry.name
    return command


def _complain(message: str) -> None:
    for line in message.splitlines():
        # Names and values of the user's files must not steer the terminal.
        shown = "".join(character if character.isprintable() else "?" for character in line)
        print(f"error: {shown}", file=sys.stderr)
