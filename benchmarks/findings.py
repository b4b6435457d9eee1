"""What a benchmark found: tables, targets and notes, as kept in JSON and shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table as RichTable


class Record(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(Record):
    """A figure and the bound that it was to reach; whether it did is computed, never stored."""

    what: str
    value: float
    relation: Literal["at least", "at most"]
    bound: float
    decimals: int = 4

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of the bound; never for NaN."""
        if self.relation == "at least":
            return self.value >= self.bound
        return self.value <= self.bound

    @property
    def verdict(self) -> str:
        """Met or MISSED, for a table."""
        return "met" if self.met else "**MISSED**"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """What it is, what was wanted, what was measured, and the verdict."""
        wanted = f"{self.relation} {self.bound:g}"
        return self.what, wanted, f"{self.value:.{self.decimals}f}", self.verdict


class Table(Record):
    """A titled table of text; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Findings(Record):
    """All that one benchmark has to say.

    ``not_measured`` says what could not be measured and why; ``figures`` are the raw numbers.
    """

    title: str
    about: str
    tables: tuple[Table, ...] = ()
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    not_measured: tuple[str, ...] = ()
    figures: dict[str, Any] = {}


class Measured(Record):
    """Findings, and under what circumstances they were made."""

    findings: Findings
    command: str
    date: str
    seconds: float
    machine: str
    versions: dict[str, str]


def at_least(what: str, value: float, bound: float, *, decimals: int = 4) -> Target:
    """A target that higher figures meet."""
    return Target(what=what, value=value, relation="at least", bound=bound, decimals=decimals)


def at_most(what: str, value: float, bound: float, *, decimals: int = 4) -> Target:
    """A target that lower figures meet."""
    return Target(what=what, value=value, relation="at most", bound=bound, decimals=decimals)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose rows all have one cell for each column; ValueError otherwise."""
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"a row of {title!r} has the wrong number of cells")
    return Table(title=title, columns=tuple(columns), rows=tuple(tuple(row) for row in rows))


def show(findings: Findings, console: Console) -> None:
    """Print the tables, the targets and what could not be measured."""
    for shown in findings.tables:
        printed = RichTable(title=shown.title)
        for index, column in enumerate(shown.columns):
            printed.add_column(column, justify="right" if index else "left")
        for row in shown.rows:
            printed.add_row(*row)
        console.print(printed)
    for target in findings.targets:
        what, wanted, value, verdict = target.cells
        console.print(f"{what}: {value}, wanted {wanted}: {verdict.strip('*')}", markup=False)
    for line in findings.not_measured:
        console.print(f"not measured here: {line}", markup=False)
