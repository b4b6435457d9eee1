"""The reference of the command line lists exactly the commands, options and defaults there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fedward.common.command_line import installed_rooms, root_command

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md"


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it that can be called, with what one types."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        if path == "fedward":
            yield path, command
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(commands(root_command(installed_rooms()), "fedward"))


def section(heading: str) -> str:
    found = re.search(rf"^## `{heading}`$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found, f"no section for {heading}"
    return PAGE.read_text("utf-8")[found.end() :].split("\n## ", 1)[0]


def value_of(option: click.Option) -> str:
    kind = option.type
    if option.is_flag:
        return "flag"
    if isinstance(kind, click.Choice):
        return " or ".join(f"`{getattr(choice, 'value', choice)}`" for choice in kind.choices)
    words = {
        "integer": "whole number",
        "integer range": "whole number",
        "float": "number",
        "float range": "number",
    }
    word = words.get(kind.name, kind.name)
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    bounds = [f"{sign} {bound}" for sign, bound in (("≥", low), ("≤", high)) if bound is not None]
    return ", ".join([word, *bounds])


def default_of(option: click.Option) -> str:
    default = option.get_default(click.Context(click.Command("fedward")))
    if option.is_flag:
        return "off"
    return f"`{getattr(default, 'value', default)}`" if default not in (None, (), []) else "none"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_lists_its_options(name: str) -> None:
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option)]
    expected = [
        [f"`{option.opts[0]}`", value_of(option), default_of(option)]
        for option in options
        if "--help" not in option.opts
    ]

    lines = [line for line in section(name).splitlines() if line.startswith("| `--")]
    shown = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]

    assert sorted(row[:3] for row in shown) == sorted(expected)
    assert all(len(row) == 4 and row[3] for row in shown), "an option is not explained"


def test_no_section_is_left_over() -> None:
    headings = re.findall(r"^## `(.+)`$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert set(headings) == set(COMMANDS)
