"""A ledger's statement for people: a table a cohort, bars of the caps, and what to look into."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedward.client.site.site_settings import MOST_CAP, SiteSettings
from fedward.client.site.statement import CohortStatement, Epsilons, Statement

BAR_WIDTH = 20
SHOWN_DIGEST = 8
EPSILON = "epsilon"
EPSILON_ALONE = "epsilon, if all other sites collude"
EpsilonName = Literal["epsilon", "epsilon_alone"]
_NEARLY_ALL = 0.9


def budget_tables(statement: Statement) -> RenderableType:
    """Everything that the statement says."""
    parts: list[RenderableType] = []
    for cohort in statement.cohorts:
        parts += [_budget(cohort), _studies(cohort), Text()]
    entries = f"{statement.entries:,} entries, all of them verified"
    parts.append(
        Text(f"{statement.site}: {entries}; the last is of {_time(statement.last_entry)} UTC.")
    )
    parts += [Text(note, style="yellow") for note in notes_on(statement)]
    return Group(*parts)


def notes_on(statement: Statement) -> Iterator[str]:
    """What somebody should look into, a sentence each."""
    if statement.open_releases:
        yield (
            f"{_counted(statement.open_releases, 'reservation')} never committed: a vault is at "
            "work on it now, or was stopped; what was reserved stays spent."
        )
    if statement.abandoned:
        yield f"{_counted(statement.abandoned, 'release')} given up; what it cost stays spent."
    if statement.seconds_behind:
        yield (
            f"The site's clock went back, by up to {statement.seconds_behind:,} seconds; times of "
            "entries are not to be relied on, their order is."
        )
    for cohort in statement.cohorts:
        for name, left in (
            (EPSILON, cohort.left.epsilon),
            (EPSILON_ALONE, cohort.left.epsilon_alone),
        ):
            if left == 0:
                yield f"Cohort {cohort.cohort} has nothing left ({name})."
        if cohort.spent.epsilon is None:
            yield f"Cohort {cohort.cohort} has a release without noise, which has no epsilon."


def notes_on_settings(settings: SiteSettings, statement: Statement) -> Iterator[str]:
    """Where ``site.toml`` says something else than the ledger, and what will come of it."""
    ledger = {cohort.cohort: cohort for cohort in statement.cohorts}
    file = settings.source.name
    for name, budget in settings.cohorts.items():
        if name not in ledger:
            yield f"Cohort {name} is in {file} alone: the ledger has it once a vault starts."
            continue
        caps = ledger[name].caps
        for key, new, old in (
            ("epsilon_cap", budget.epsilon_cap, caps.epsilon),
            ("epsilon_alone_cap", budget.epsilon_alone_cap, caps.epsilon_alone),
        ):
            if _height(new) > _height(old):
                yield (
                    f"{file} has a higher {key} for cohort {name} than the ledger: no vault will "
                    "start with it before `fedward site raise-budget`."
                )
            elif _height(new) < _height(old):
                yield (
                    f"{file} has a lower {key} for cohort {name} than the ledger: it holds from "
                    "the next start of the vault on."
                )


def _height(cap: float | None) -> float:
    return math.inf if cap is None else cap


def _budget(cohort: CohortStatement) -> Table:
    title = f"Cohort {cohort.cohort}, at delta {cohort.delta:g}"
    if cohort.shares_patients_with:
        title += f"; shares patients with {', '.join(cohort.shares_patients_with)}"
    table = Table(title=title, title_style="bold")
    table.add_column("any one patient's")
    for name in ("cap", "spent", "reserved", "left", "used"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", min_width=BAR_WIDTH // 2, max_width=BAR_WIDTH)
    key: EpsilonName
    for name, key in ((EPSILON, "epsilon"), (EPSILON_ALONE, "epsilon_alone")):
        used = getattr(cohort.used, key)
        table.add_row(
            name,
            _figure(cohort.caps, key, none="no cap"),
            _figure(cohort.spent, key),
            _figure(cohort.reserved, key),
            _figure(cohort.left, key, none=""),
            "" if used is None else f"{used:.0%}",
            "" if used is None else _bar(used),
        )
    return table


def _studies(cohort: CohortStatement) -> RenderableType:
    if not cohort.studies:
        return Text(f"No release was charged to {cohort.cohort}.")
    table = Table(title=f"Charged to {cohort.cohort}, by study")
    table.add_column("study", min_width=8, overflow="fold")
    table.add_column("digest", no_wrap=True)
    for name in ("releases", "at delta", "epsilon", "alone"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from, to (UTC)")
    for study in cohort.studies:
        unfinished = f"\n{study.not_committed:,} open" if study.not_committed else ""
        table.add_row(
            study.study_name,
            study.study_digest[:SHOWN_DIGEST],
            f"{study.releases:,}{unfinished}",
            f"{study.delta:g}",
            _figure(study.spent, "epsilon"),
            _figure(study.spent, "epsilon_alone"),
            f"{_time(study.first)}\n{_time(study.last)}",
        )
    return table


def _bar(used: float) -> ProgressBar:
    full = "red" if used > _NEARLY_ALL else "green"
    return ProgressBar(total=1.0, completed=used, complete_style=full, finished_style="red")


def _figure(epsilons: Epsilons, name: EpsilonName, *, none: str = "none given") -> str:
    value: float | None = getattr(epsilons, name)
    if value is None:
        return none
    # A ledger may hold caps that no site.toml takes.
    return f"{value:.4f}" if value <= MOST_CAP else f"{value:.4g}"


def _time(time: str) -> str:
    """To the minute."""
    return time.replace("T", " ")[: len("2026-01-01 00:00")]


def _counted(number: int, what: str) -> str:
    return f"One {what} was" if number == 1 else f"{number:,} {what}s were"
