"""The attacks on the terminal: one row an attack, one column a view, and records side by side."""

from __future__ import annotations

from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedward.audits.attacks.result import (
    VIEWS,
    AttackAudit,
    AttackFigure,
    AttackResult,
    Reconstruction,
    View,
)

VIEW_NAMES: Final[dict[View, str]] = {
    "raw": "raw update",
    "clipped": "clipped only",
    "masked": "masked only",
    "noised": "fedward",
}
MOST_VALUES = 8
MOST_PICTURES = 2
_SHADES = " .:-=+*#%@"


def print_attacks(audit: AttackAudit, console: Console) -> None:
    """Print the table, what the attacks are, and one record of each that has some."""
    console.print(attack_table(audit))
    for attack in audit.attacks:
        _print_records(attack, console)
    for note in audit.notes:
        console.print(Text(note, style="dim"))


def attack_table(audit: AttackAudit) -> Table:
    """Figures by attack and view with their errors, what guessing would reach, and verdicts."""
    table = Table(
        title=Text(f"Attacks on {audit.study_name}, ε = {audit.epsilon:g}"),
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("attack", overflow="fold", ratio=1, min_width=20)
    for view in VIEWS:
        table.add_column(VIEW_NAMES[view], justify="right")
    table.add_column("guess", justify="right")
    for attack in audit.attacks:
        cells = [_cell(attack, figure) for figure in attack.figures]
        chance = next((f.chance for f in reversed(attack.figures) if f.value is not None), None)
        name = Text.assemble(attack.title, "\n", (attack.measure, "dim"), "\n", _verdict(attack))
        table.add_row(name, *cells, "" if chance is None else shown(attack, chance))
        reasons = dict.fromkeys(f.why for f in attack.figures if f.value is None)
        for why in reasons:
            table.add_row(Text(f"  not applicable: {why}", style="dim"))
        table.add_section()
    return table


def shown(attack: AttackResult, value: float) -> str:
    """A figure as people read it: a share in per cent, an area under a curve as a number."""
    return f"{value:.3f}" if "area" in attack.measure else f"{value:.1%}"


def _verdict(attack: AttackResult) -> tuple[str, str]:
    """Whether it worked on what fedward releases, and the style."""
    name = VIEW_NAMES["noised"]
    if attack.worked_against_release is None:
        return f"{name}: not applicable", "dim"
    if attack.worked_against_release:
        return f"{name}: the attack worked", "bold red"
    return f"{name}: not told from guessing", "green"


def _cell(attack: AttackResult, figure: AttackFigure) -> Text:
    if figure.value is None:
        return Text("-", style="dim")
    text = shown(attack, figure.value)
    if figure.error is not None:
        text += f"\n±{shown(attack, figure.error)}"
    if figure.view == "noised":
        return Text(text, style="bold red" if attack.worked_against_release else "bold green")
    halfway = figure.value > (1 + figure.chance) / 2
    return Text(text, style="red" if halfway else "")


def _print_records(attack: AttackResult, console: Console) -> None:
    pictures = [one for one in attack.reconstructions if one.picture is not None]
    if pictures:
        for one in pictures[:MOST_PICTURES]:
            console.print(_pictures(attack, one))
    elif attack.reconstructions:
        console.print(_values(attack, attack.reconstructions[0]))


def _values(attack: AttackResult, record: Reconstruction) -> Table:
    table = Table(title=_title(attack), box=None, header_style="bold", pad_edge=False)
    table.add_column("one record", overflow="fold")
    table.add_column("true", justify="right")
    for view in VIEWS:
        table.add_column(VIEW_NAMES[view], justify="right")
    for index, name in enumerate(record.names[:MOST_VALUES]):
        cells = [f"{record.true[index]:.4g}"]
        for view in VIEWS:
            found = record.found[view]
            cells.append("-" if found is None else f"{found[index]:.4g}")
        table.add_row(Text(name), *cells)
    left = len(record.names) - MOST_VALUES
    if left > 0:
        table.add_row(Text(f"and {left} more", style="dim"))
    return table


def _pictures(attack: AttackResult, record: Reconstruction) -> RenderableType:
    """The record and what was made of it, side by side, by shades of letters."""
    low, high = min(record.true), max(record.true)
    found = {"true": record.true} | {VIEW_NAMES[v]: record.found[v] for v in VIEWS}
    table = Table(box=None, header_style="bold", pad_edge=False)
    cells: list[Text] = []
    for name, values in found.items():
        table.add_column(name, no_wrap=True)
        shade = "" if values is None else _shades(values, record, low=low, high=high)
        cells.append(Text(shade or "-"))
    table.add_row(*cells)
    return Group(_title(attack), table)


def _shades(values: tuple[float, ...], record: Reconstruction, *, low: float, high: float) -> str:
    """At most 14 letters a line and 14 lines: each is the mean of a block of pixels."""
    rows, columns = record.picture or (1, 1)
    step = max(1, -(-max(rows, columns) // 14))
    lines = []
    for top in range(0, rows, step):
        line = ""
        for left in range(0, columns, step):
            block = [
                values[row * columns + column]
                for row in range(top, min(top + step, rows))
                for column in range(left, min(left + step, columns))
            ]
            share = (sum(block) / len(block) - low) / ((high - low) or 1.0)
            place = round(min(1.0, max(0.0, share)) * (len(_SHADES) - 1))
            line += _SHADES[place]
        lines.append(line)
    return "\n".join(lines)


def _title(attack: AttackResult) -> Text:
    return Text(attack.title, style="italic")
