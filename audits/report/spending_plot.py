"""Both epsilons of a cohort over time, as its ledger has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from fedward.audits.report.document import Account, Moment, SiteBooks
from fedward.audits.report.drawing import Drawing, Picture, Scale, tick_name
from fedward.simulations.report.numbers import epsilon

WIDTH: Final = 380
HEIGHT: Final = 250
MOST_SITES: Final = 6
"""Hospitals that are drawn: those that spent most. All are in the table."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 340.0, 14.0, 206.0
_LONG: Final = timedelta(hours=1)
_APART: Final = 12
"""From this ratio on, epsilon alone would press epsilon to the ground on a linear scale."""


@dataclass(frozen=True, kw_only=True)
class _Across:
    """The horizontal axis: times, or, where all happened at once, entries of the ledger."""

    scale: Scale
    timed: bool

    def place(self, moment: Moment) -> float:
        value = _time(moment).timestamp() if self.timed else moment.sequence
        return self.scale(value)


def drawn_sites(sites: Sequence[SiteBooks]) -> tuple[SiteBooks, ...]:
    """The hospitals with a picture: all where they are few, else those that spent most."""
    if len(sites) <= MOST_SITES:
        return tuple(sites)
    return tuple(sorted(sites, key=_most, reverse=True)[:MOST_SITES])


def spending_pictures(site: SiteBooks, *, number: int) -> Iterator[tuple[str, Picture]]:
    """A caption and a picture for each cohort that spent anything; ``number`` names the site."""
    for index, account in enumerate(site.accounts):
        if account.kind != "cohort" or not account.moments or account.epsilon is None:
            continue
        studies = [
            study
            for study in site.accounts
            if study.kind == "study" and study.study_digest in _digests(account)
        ]
        drawn = _picture(
            site, account, studies if len(studies) > 1 else [], name=f"spent-{number}-{index}"
        )
        yield f"{site.site}: {account.name}", drawn


def _picture(site: SiteBooks, account: Account, studies: list[Account], *, name: str) -> Picture:
    drawing = Drawing(name=name, width=WIDTH, height=HEIGHT)
    across, up = _across(account.moments), _up(account)
    _axes(drawing, across, up, account.moments)
    for value, words in ((account.epsilon_cap, "cap"), (account.epsilon_alone_cap, "cap alone")):
        if value is not None and value <= up.high:
            drawing.line((_LEFT, up(value)), (_RIGHT, up(value)), style="cap")
            drawing.text(words, (_LEFT + 4, up(value) - 4), style="cap-label")
    for study in studies:
        drawing.path(_steps(study.moments, across, up, alone=False), style="study-line")
    drawing.path(_steps(account.moments, across, up, alone=True), style="alone-line")
    drawing.path(_steps(account.moments, across, up, alone=False), style="epsilon-line")
    ends = (account.epsilon_alone, account.epsilon)
    # The two labels at the right end must not lie on each other.
    heights = [up(value or 0) + 4 for value in ends]
    if heights[1] - heights[0] < 13:
        heights = [heights[0] - 6.5, heights[1] + 6.5]
    for value, height, style in zip(ends, heights, ("alone-label", "epsilon-label"), strict=True):
        drawing.text(epsilon(value), (_RIGHT + 4, height), style=style)
    return drawing.picture(
        title=f"Spent at {site.site} by {account.name}",
        description=f"Epsilon rises to {epsilon(account.epsilon)} and epsilon alone to "
        f"{epsilon(account.epsilon_alone)} in {account.moments[-1].sequence} entries"
        + (f"; the cap is {epsilon(account.epsilon_cap)}." if account.epsilon_cap else "."),
    )


def _axes(drawing: Drawing, across: _Across, up: Scale, moments: Sequence[Moment]) -> None:
    for value in up.ticks():
        drawing.line((_LEFT, up(value)), (_RIGHT, up(value)), style="grid")
        drawing.text(tick_name(value), (_LEFT - 6, up(value) + 4), anchor="end", style="tick")
    drawing.line((_LEFT, _BOTTOM), (_RIGHT, _BOTTOM), style="axis")
    if across.timed:
        first, last = moments[0].time, moments[-1].time
        drawing.text(_day(first), (_LEFT, _BOTTOM + 17), style="tick")
        drawing.text(_day(last), (_RIGHT, _BOTTOM + 17), anchor="end", style="tick")
        drawing.text("time (UTC)", ((_LEFT + _RIGHT) / 2, _BOTTOM + 36), anchor="middle")
    else:
        for value in across.scale.ticks():
            if value == round(value):
                at = (across.scale(value), _BOTTOM + 17)
                drawing.text(tick_name(value), at, anchor="middle", style="tick")
        drawing.text(
            f"entry of the ledger, {_day(moments[0].time)}",
            ((_LEFT + _RIGHT) / 2, _BOTTOM + 36),
            anchor="middle",
        )


def _across(moments: Sequence[Moment]) -> _Across:
    first, last = _time(moments[0]), _time(moments[-1])
    if last - first >= _LONG:
        low, high = first.timestamp(), last.timestamp()
        return _Across(scale=Scale(low=low, high=high, start=_LEFT, end=_RIGHT), timed=True)
    scale = Scale(low=0, high=max(1, moments[-1].sequence), start=_LEFT, end=_RIGHT)
    return _Across(scale=scale, timed=False)


def _up(account: Account) -> Scale:
    together, alone = account.epsilon or 0.0, account.epsilon_alone or 0.0
    highest = max(together, alone, 1e-6)
    caps = [cap for cap in (account.epsilon_cap, account.epsilon_alone_cap) if cap]
    # A cap far above would flatten what was spent; the table has it.
    highest = max([highest, *(cap for cap in caps if cap <= 4 * highest)])
    if 0 < together < alone / _APART:
        low = min(moment.epsilon or together for moment in account.moments)
        return Scale(low=low, high=1.08 * highest, start=_BOTTOM, end=_TOP, logarithmic=True)
    return Scale(low=0, high=1.08 * highest, start=_BOTTOM, end=_TOP)


def _steps(
    moments: Sequence[Moment], across: _Across, up: Scale, *, alone: bool
) -> list[tuple[float, float]]:
    values = [(moment.epsilon_alone if alone else moment.epsilon) or 0.0 for moment in moments]
    places = [across.place(moment) for moment in moments]
    points = [(places[0], up(0 if not up.logarithmic else up.low)), (places[0], up(values[0]))]
    for (_, before), (place, value) in pairwise(zip(places, values, strict=True)):
        # Between two moments that were computed lie releases that were not: no stairs.
        points.append((place, up(before)) if across.timed else (place, up(value)))
        points.append((place, up(value)))
    return points


def _most(site: SiteBooks) -> float:
    return max((account.epsilon or 0.0 for account in site.accounts), default=0.0)


def _digests(account: Account) -> set[str]:
    return {line.study_digest for line in account.charges}


def _time(moment: Moment) -> datetime:
    return datetime.fromisoformat(moment.time)


def _day(time: str) -> str:
    return time[:10]
