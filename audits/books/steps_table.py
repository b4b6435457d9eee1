"""Documented steps as a table for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.audits.books.documented_steps import StepsAudit
from fedward.audits.books.ledger_table import epsilon_cells, plain

_VERDICTS = {True: ("holds", "green"), False: ("FAILS", "red"), None: ("unknown", "yellow")}


def show_steps(audit: StepsAudit, console: Console) -> None:
    """What was claimed, what each site's steps cost, and where that is written."""
    console.print(plain(audit.title))
    table = Table(
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"Claimed: epsilon {audit.claimed_epsilon:g} at delta {audit.delta:g}",
    )
    table.add_column("site", overflow="fold")
    for name in ("patients", "steps", "PLD", "PRV", "RDP", "unsampled"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("claim", no_wrap=True)
    for cost in audit.sites:
        word, colour = _VERDICTS[audit.holds(cost)]
        table.add_row(
            plain(cost.site),
            str(cost.patients),
            str(cost.steps),
            *epsilon_cells(cost.poisson),
            epsilon_cells(cost.unsampled)[0],
            Text(word, style=colour),
        )
    console.print(table)
    console.print(
        "PLD, PRV and RDP hold if batches are Poisson samples. 'unsampled' (PLD) takes each pass "
        "over the patients for one release to all of them; it holds for shuffled batches too, "
        "against blanking one patient's record.",
        soft_wrap=True,
    )
    for note in audit.notes:
        console.print(plain(f"- {note}"), soft_wrap=True)
    for source in audit.sources:
        console.print(plain(f"source: {source}"), soft_wrap=True)
