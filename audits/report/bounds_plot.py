"""Upper and lower bound on one axis: what is claimed, what was spent, what an attack showed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from fedward.audits.empirical.result import EmpiricalAudit
from fedward.audits.report.document import AuditReport
from fedward.audits.report.drawing import Drawing, Picture, Scale, tick_name
from fedward.audits.report.guarantee import Promise
from fedward.simulations.report.numbers import epsilon

WIDTH: Final = 720
_LEFT, _RIGHT, _ROW, _TOP = 150.0, 690.0, 84.0, 30.0
_LETTER, _GAP = 6.6, 10.0
NAMES: Final[dict[Literal["epsilon", "epsilon_alone"], str]] = {
    "epsilon": "epsilon",
    "epsilon_alone": "epsilon alone",
}


@dataclass(frozen=True, kw_only=True)
class BoundRow:
    """One epsilon. ``claimed`` and ``spent`` are upper bounds, ``lower`` is a lower one.

    ``claimed`` is what the empirical audit held ``lower`` to, or the study's promise.
    """

    name: str
    claimed: float | None
    spent: float | None
    lower: float | None
    confidence: float | None


def bound_rows(report: AuditReport, promises: tuple[Promise, ...]) -> tuple[BoundRow, ...]:
    """Both epsilons, each with the bounds that there are."""
    spent = {promise.name: promise.spent for promise in promises}
    return tuple(
        BoundRow(
            name=NAMES[name],
            claimed=_claimed(report, name),
            spent=spent.get(name),
            lower=_lower(report.empirical, name),
            confidence=_confidence(report.empirical, name),
        )
        for name in NAMES
    )


def at_least(value: float | None) -> str:
    """A lower bound with two decimals, rounded down: a higher one would claim too much."""
    return "-" if value is None else f"{math.floor(value * 100 + 1e-9) / 100:.2f}"


def bounds_picture(rows: tuple[BoundRow, ...]) -> Picture:
    """A row for each epsilon: a band from the lower bound to the claim, and what was spent."""
    drawing = Drawing(name="bounds", width=WIDTH, height=_TOP + _ROW * len(rows) + 40)
    highest = max(
        (value for row in rows for value in (row.claimed, row.spent, row.lower) if value),
        default=1.0,
    )
    across = Scale(low=0, high=1.06 * highest, start=_LEFT, end=_RIGHT)
    bottom = _TOP + _ROW * len(rows)
    for value in across.ticks():
        drawing.line((across(value), _TOP - 16), (across(value), bottom), style="grid")
        drawing.text(tick_name(value), (across(value), bottom + 16), anchor="middle", style="tick")
    drawing.text("epsilon; smaller is more private", (_LEFT, bottom + 33))
    for index, row in enumerate(rows):
        _draw_row(drawing, across, row, _TOP + _ROW * index + 28)
    return drawing.picture(
        title="Upper and lower bounds of epsilon",
        description=" ".join(_said(row) for row in rows),
    )


def _draw_row(drawing: Drawing, across: Scale, row: BoundRow, height: float) -> None:
    drawing.text(row.name, (4, height + 4), style="row-label")
    upper = row.claimed if row.claimed is not None else row.spent
    if upper is None:
        drawing.text("no bound", (_LEFT + 6, height + 4))
        return
    start = across(row.lower or 0)
    drawing.area((start, height - 5), (max(0.0, across(upper) - start), 10), style="possible")
    if row.lower is not None:
        drawing.mark((start, height), style="lower", shape="bar")
    if row.spent is not None:
        drawing.mark((across(row.spent), height), style="spent", shape="dot")
    if row.claimed is not None:
        drawing.mark((across(row.claimed), height), style="claim", shape="bar")
        _label(drawing, f"claimed {epsilon(row.claimed)}", (across(row.claimed), height - 14))
    taken = _LEFT
    if row.lower is not None:
        taken = _label(drawing, f"at least {at_least(row.lower)}", (start, height + 24))
    if row.spent is not None:
        words, place = f"spent at most {epsilon(row.spent)}", across(row.spent)
        beside = _begin(words, place) > taken + _GAP
        _label(drawing, words, (place, height + (24 if beside else 38)))


def _label(drawing: Drawing, words: str, at: tuple[float, float]) -> float:
    """Words that end at a mark, or begin there where it is far to the left; gives their end."""
    begin = _begin(words, at[0])
    drawing.text(words, at, anchor="end" if begin < at[0] else "start")
    return max(at[0], begin + len(words) * _LETTER)


def _begin(words: str, place: float) -> float:
    begin = place - len(words) * _LETTER
    return begin if begin >= _LEFT else place


def _said(row: BoundRow) -> str:
    said = [f"claimed {epsilon(row.claimed)}"] if row.claimed is not None else []
    said += [f"spent at most {epsilon(row.spent)}"] if row.spent is not None else []
    said += [f"at least {at_least(row.lower)} by an attack"] if row.lower is not None else []
    return f"{row.name}: {', '.join(said) or 'no bound'}."


def _claimed(report: AuditReport, name: str) -> float | None:
    if report.empirical is not None:
        for claim in report.empirical.claims:
            if claim.name == name:
                return claim.claimed
    return report.study.epsilon if name == "epsilon" else None


def _lower(empirical: EmpiricalAudit | None, name: str) -> float | None:
    claims = empirical.claims if empirical else ()
    return next((claim.highest for claim in claims if claim.name == name), None)


def _confidence(empirical: EmpiricalAudit | None, name: str) -> float | None:
    bounds = [
        bound.confidence
        for claim in (empirical.claims if empirical else ())
        if claim.name == name
        for bound in claim.bounds
    ]
    return min(bounds, default=None)
