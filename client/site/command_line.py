"""``fedward site``: what this site has spent, its ledger for others, and a higher budget."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from fedward.common.errors import InputError

if TYPE_CHECKING:
    from fedward.client.site.site_settings import SiteSettings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A hospital's budgets and its ledger."
)
ledger_app = typer.Typer(no_args_is_help=True, help="This site's ledger.")
app.add_typer(ledger_app, name="ledger")

SiteFile = Annotated[Path, typer.Option("--site", metavar="FILE", help="The site's site.toml.")]
SITE_FILE = Path("site.toml")
MOST_REASON_CHARACTERS = 1000
EPSILON = "epsilon"
EPSILON_ALONE = "epsilon, if all other sites collude"


@app.command()
def budget(
    site: SiteFile = SITE_FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show, for each cohort, what its patients may spend, what was spent, and by which study.

    Reads the ledger and checks every entry of it; a vault may be at work meanwhile.
    """
    from fedward.client.site.budget_table import budget_tables, notes_on_settings
    from fedward.client.site.identity_file import read_identity
    from fedward.client.site.site_settings import load_site
    from fedward.client.site.statement import statement_of

    settings = load_site(site)
    identity = read_identity(settings.identity_file)
    with Console(stderr=True).status("Adding up the ledger"):
        statement = statement_of(
            settings.ledger_file, site=settings.name, identity_key=identity.public_key
        )
    if as_json:
        print(statement.model_dump_json(indent=1))
        return
    console = Console()
    console.print(budget_tables(statement))
    for note in notes_on_settings(settings, statement):
        console.print(Text(note, style="yellow"))


@ledger_app.command()
def export(
    site: SiteFile = SITE_FILE,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; else it is printed.")
    ] = None,
) -> None:
    """Write the ledger as JSON lines, which anybody can verify with the roster alone."""
    from fedward.client.site.identity_file import read_identity
    from fedward.client.site.site_settings import load_site
    from fedward.client.vault.verified_ledger import export_of_file
    from fedward.common.atomic_files import replace_file

    settings = load_site(site)
    if output is not None:
        _refuse_output(output, settings)
    identity = read_identity(settings.identity_file)
    lines = export_of_file(settings.ledger_file, site=settings.name, identity=identity)
    if output is None:
        for line in lines:
            print(line)
        return
    text = "".join(f"{line}\n" for line in lines)
    try:
        # It is the hospital's own until somebody gives it away.
        replace_file(output, text.encode(), private=True)
    except OSError as error:
        raise InputError(
            source=str(output),
            field="",
            problem=f"cannot be written ({error.strerror})",
            fix="give another --output",
        ) from error
    count = text.count("\n") - 1
    Console(stderr=True).print(Text(f"{count:,} entries and the ledger's head in {output}."))


@app.command("raise-budget")
def raise_budget(
    cohort: Annotated[str, typer.Argument(help="Whose budget.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger for good.")],
    epsilon: Annotated[
        float | None, typer.Option(min=0, help="The new cap on epsilon; else it stays.")
    ] = None,
    epsilon_alone: Annotated[
        float | None, typer.Option(min=0, help="The new cap on epsilon_alone; else it stays.")
    ] = None,
    site: SiteFile = SITE_FILE,
) -> None:
    """Raise what the patients of a cohort may spend. A signed entry says so, and why.

    The vault must not be running. Put the new cap into site.toml too, or the lower one stays.
    """
    from fedward.client.site.identity_file import read_identity
    from fedward.client.site.site_settings import load_site
    from fedward.client.vault.durable_ledger import DurableLedger
    from fedward.client.vault.verified_ledger import verified_chain

    settings = load_site(site)
    _check_request(reason, epsilon, epsilon_alone)
    if not settings.ledger_file.exists():
        raise InputError(
            source=str(settings.ledger_file),
            field="",
            problem="is not there yet",
            fix=f"set the budget in {site.name}, which a vault writes into its first ledger",
        )
    identity = read_identity(settings.identity_file)
    # Opened as it is now, a file that is no ledger would be made or changed.
    verified_chain(settings.ledger_file, site=settings.name, identity_key=identity.public_key)
    ledger = DurableLedger(settings.ledger_file, site=settings.name, identity=identity)
    try:
        known = ledger.budgets().get(cohort)
        if known is not None:
            epsilon = known.epsilon_cap if epsilon is None else epsilon
            epsilon_alone = known.epsilon_alone_cap if epsilon_alone is None else epsilon_alone
        raised = ledger.raise_budget(
            cohort, epsilon_cap=epsilon, epsilon_alone_cap=epsilon_alone, reason=reason.strip()
        )
    finally:
        ledger.close()
    console = Console()
    caps = ((EPSILON, raised.epsilon_cap), (EPSILON_ALONE, raised.epsilon_alone_cap))
    for name, cap in caps:
        said = "no cap" if cap is None else f"a cap of {cap:g}"
        console.print(Text(f"Cohort {cohort} has {said} on {name}."))
    written = settings.cohorts.get(cohort)
    if written is None or (written.epsilon_cap, written.epsilon_alone_cap) != (
        raised.epsilon_cap,
        raised.epsilon_alone_cap,
    ):
        console.print(
            Text(f"Put this into {site.name} before the vault starts, or it lowers the cap again.")
        )


def _check_request(reason: str, *caps: float | None) -> None:
    from fedward.client.site.site_settings import MOST_CAP

    given = [cap for cap in caps if cap is not None]
    field, problem, fix = "", "", ""
    if not given:
        field, problem, fix = "--epsilon", "is missing, and so is --epsilon-alone", "give a new cap"
    elif not all(math.isfinite(cap) for cap in given):
        field, problem, fix = "the new cap", "is not a finite number", "write one"
    elif max(given) > MOST_CAP:
        field, problem, fix = "the new cap", f"is above {MOST_CAP:,}", "give a lower one"
    elif not _is_text(reason):
        field, problem, fix = "--reason", "is not UTF-8 text", "write it in UTF-8"
    elif not reason.strip() or len(reason.strip()) > MOST_REASON_CHARACTERS:
        field, problem = "--reason", f"must have 1 to {MOST_REASON_CHARACTERS} characters"
        fix = "say why the budget is raised"
    if problem:
        raise InputError(source="raise-budget", field=field, problem=problem, fix=fix)


def _is_text(argument: str) -> bool:
    """Whether it was given in UTF-8: bytes that are none come as halves of characters."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_output(output: Path, settings: SiteSettings) -> None:
    """Refuse to write an export into a folder, or over any file that belongs to the site."""
    from fedward.client.vault.ledger_limits import BESIDE
    from fedward.common.atomic_files import new_beside

    def refuse(problem: str, fix: str) -> NoReturn:
        raise InputError(source=str(output), field="", problem=problem, fix=fix)

    if output.is_dir():
        refuse("is a folder", "give the --output the name of a file")
    ledger = settings.ledger_file.resolve()  # what belongs to it lies beside it, not beside a link
    own = {
        settings.source.resolve(),
        settings.identity_file.resolve(),
        ledger,
        *(ledger.with_name(ledger.name + ending) for ending in BESIDE),
    }
    for written in (output, new_beside(output)):
        if written.resolve() in own or any(_is_same(written, file) for file in own):
            refuse(
                "belongs to the site itself, and an export would replace it",
                "give another --output",
            )


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
