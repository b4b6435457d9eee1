"""The cost of a study as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.audits.books.ledger_table import plain
from fedward.audits.books.plan_result import PlanCost


def show_cost(cost: PlanCost, console: Console) -> None:
    """Sums by kind, both epsilons by part, and each cohort's budget afterwards."""
    title = f"{cost.study_name} over {cost.sites} sites, of which {cost.colluding} may cheat"
    console.print(_sums_table(cost, title))
    console.print(_parts_table(cost))
    if cost.cohorts or cost.study_caps:
        console.print(_outlook_table(cost))
        verdict = "Every budget suffices." if cost.fits else "A budget does NOT suffice."
        console.print(Text(verdict, style="green" if cost.fits else "red"))


def _sums_table(cost: PlanCost, title: str) -> Table:
    table = Table(title=plain(title).plain)
    for name in ("sums", "over patients"):
        table.add_column(name)
    for name in ("releases", "rate", "noise / clip", "a site's share / clip"):
        table.add_column(name, justify="right")
    for one in cost.sums:
        table.add_row(
            one.kind.replace("_", " "),
            one.part.replace("_", " "),
            str(one.releases),
            f"{one.sampling_rate:g}",
            f"{one.noise_multiplier:.4g}",
            f"{one.share_multiplier:.4g}",
        )
    return table


def _parts_table(cost: PlanCost) -> Table:
    table = Table(title=f"Cost at delta {cost.delta:g} if all are released")
    table.add_column("patients")
    for name in ("epsilon", "epsilon alone"):
        table.add_column(name, justify="right")
    for one in cost.parts:
        table.add_row(one.part.replace("_", " "), f"{one.epsilon:.4f}", f"{one.epsilon_alone:.4f}")
    return table


def _outlook_table(cost: PlanCost) -> Table:
    table = Table(title="Budgets before and after")
    for name in ("site", "cohort", "epsilon"):
        table.add_column(name)
    for name in ("cap", "spent", "after", "left"):
        table.add_column(name, justify="right")
    for one in cost.cohorts:
        table.add_row(
            plain(one.site),
            plain(one.cohort),
            "alone" if one.alone else "",
            "none" if one.cap is None else f"{one.cap:g}",
            _number(one.spent),
            _number(one.after),
            _left(one.left, fits=one.fits),
        )
    for cap in cost.study_caps:
        table.add_row(
            plain(cap.site),
            "this study",
            "alone" if cap.alone else "",
            f"{cap.cap:g}",
            "",
            f"{cap.cost:.4f}",
            _left(cap.cap - cap.cost, fits=cap.fits),
        )
    return table


def _number(epsilon: float | None) -> str:
    return "no bound" if epsilon is None else f"{epsilon:.4f}"


def _left(left: float | None, *, fits: bool) -> Text:
    if left is None:
        return Text("" if fits else "no bound", style="" if fits else "red")
    return Text(f"{left:.4f}", style="green" if fits else "red")
