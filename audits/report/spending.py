"""From a ledger's entries to what was spent, step by step; and again from the report alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fedward.audits.report.document import Account, ChargeLine, Moment, SiteBooks
from fedward.common.ledger.entries import (
    BudgetRaised,
    ChargedEvent,
    CohortDeclared,
    Entry,
    LedgerOpened,
    ReleaseAbandoned,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.privacy.cohort_spending import StudyCharges, worst_patient_epsilon
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import PART_OF, SumKind

MOST_MOMENTS: Final = 24
"""Moments of one account at most, evenly over its releases: each costs an accountant's work."""

_LineKey = tuple[str, str, float, SumKind, ChargedEvent | None, ChargedEvent | None]


@dataclass
class _Book:
    """The entries of one account, oldest first, and what became of each."""

    reserved: list[ReleaseReserved] = field(default_factory=list)
    committed: set[int] = field(default_factory=set)
    abandoned: set[int] = field(default_factory=set)


def site_books(entries: Sequence[Entry]) -> SiteBooks:
    """Sum up a ledger whose first entry opens it.

    Raises:
        ValueError: it begins with another entry.
    """
    opened = entries[0] if entries else None
    if not isinstance(opened, LedgerOpened):
        raise ValueError("a ledger begins with the entry that opens it")
    cohorts = _declared(entries)
    studies: dict[str, _Book] = {}
    by_cohort: dict[str, _Book] = {name: _Book() for name in cohorts}
    committed = {entry.of for entry in entries if isinstance(entry, ReleaseCommitted)}
    abandoned = {entry.of for entry in entries if isinstance(entry, ReleaseAbandoned)}
    for entry in entries:
        if isinstance(entry, ReleaseReserved):
            books = [studies.setdefault(entry.study_digest, _Book())]
            books += [by_cohort.setdefault(name, _Book()) for name in entry.cohorts]
            for book in books:
                book.reserved.append(entry)
    for book in (*studies.values(), *by_cohort.values()):
        book.committed, book.abandoned = committed, abandoned
    accounts = [_of_cohort(name, by_cohort[name], cohorts.get(name)) for name in by_cohort]
    accounts += [_of_study(digest, book) for digest, book in studies.items()]
    return SiteBooks(
        site=opened.site,
        ledger_id=opened.ledger_id,
        entries=len(entries),
        first=entries[0].time,
        last=entries[-1].time,
        clock_went_back=sum(entry.behind > 0 for entry in entries),
        accounts=tuple(account for account in accounts if account is not None),
    )


def epsilons_of(
    charges: Sequence[ChargeLine], releases: Sequence[int], *, delta: float
) -> tuple[float | None, float | None]:
    """Epsilon and epsilon alone of so many releases of each line, for the worst-off patient.

    Both are None if one of them had no noise. From the events alone, by the PLD accountant.
    """
    made = [
        line.model_copy(update={"releases": count})
        for line, count in zip(charges, releases, strict=True)
        if count
    ]
    of_sum, of_share = study_charges(made, alone=False), study_charges(made, alone=True)
    if of_sum is None or of_share is None:
        return None, None
    return (
        worst_patient_epsilon(of_sum, delta=delta),
        worst_patient_epsilon(of_share, delta=delta),
    )


def study_charges(charges: Iterable[ChargeLine], *, alone: bool) -> tuple[StudyCharges, ...] | None:
    """All releases of these lines, by study and part; None if one of them had no noise."""
    lines = []
    for line in charges:
        event = line.event_alone if alone else line.event
        if event is None:
            return None
        lines.append((line, event.event(), line.releases))
    return _studies(lines)


def _studies(lines: Iterable[tuple[ChargeLine, GaussianEvent, int]]) -> tuple[StudyCharges, ...]:
    parts: dict[tuple[str, float], dict[str, list[GaussianEvent]]] = {}
    for line, event, count in lines:
        of_study = parts.setdefault((line.study_digest, line.holdout), {})
        of_study.setdefault(PART_OF[line.sum], []).append(
            GaussianEvent(
                noise_multiplier=event.noise_multiplier,
                sampling_rate=event.sampling_rate,
                count=event.count * count,
            )
        )
    return tuple(
        StudyCharges(
            study_digest=digest,
            holdout=holdout,
            training=tuple(events.get("training", ())),
            held_out=tuple(events.get("held_out", ())),
        )
        for (digest, holdout), events in parts.items()
    )


def _declared(entries: Iterable[Entry]) -> Mapping[str, CohortDeclared]:
    """Each cohort as its last declaration and raise left it."""
    found: dict[str, CohortDeclared] = {}
    for entry in entries:
        if isinstance(entry, CohortDeclared):
            found[entry.cohort] = entry
        elif isinstance(entry, BudgetRaised) and entry.cohort in found:
            caps = {
                "epsilon_cap": entry.epsilon_cap,
                "epsilon_alone_cap": entry.epsilon_alone_cap,
            }
            found[entry.cohort] = found[entry.cohort].model_copy(update=caps)
    return found


def _of_cohort(name: str, book: _Book, declared: CohortDeclared | None) -> Account | None:
    # Charged but never declared: a check of the books says so, and there is no delta to count at.
    if declared is None:
        return None
    return _account(book, delta=declared.delta).model_copy(
        update={
            "kind": "cohort",
            "name": name,
            "study_digest": None,
            "epsilon_cap": declared.epsilon_cap,
            "epsilon_alone_cap": declared.epsilon_alone_cap,
            "shares_patients_with": declared.shares_patients_with,
        }
    )


def _of_study(digest: str, book: _Book) -> Account:
    first = book.reserved[0]
    return _account(book, delta=first.delta).model_copy(
        update={"name": first.study_name, "study_digest": digest}
    )


def _account(book: _Book, *, delta: float) -> Account:
    places: dict[_LineKey, int] = {}
    lines = [places.setdefault(_key(entry), len(places)) for entry in book.reserved]
    released, committed, abandoned = Counter(lines), Counter[int](), Counter[int]()
    for entry, line in zip(book.reserved, lines, strict=True):
        committed[line] += entry.sequence in book.committed
        abandoned[line] += entry.sequence in book.abandoned
    charges = tuple(
        ChargeLine(
            study_name=name,
            study_digest=digest,
            holdout=holdout,
            sum=kind,
            event=event,
            event_alone=alone,
            releases=released[line],
            committed=committed[line],
            abandoned=abandoned[line],
        )
        for line, (name, digest, holdout, kind, event, alone) in enumerate(places)
    )
    moments = tuple(_moments(book.reserved, lines, charges, delta=delta))
    return Account(
        kind="study",
        name="",
        delta=delta,
        charges=charges,
        moments=moments,
        epsilon=moments[-1].epsilon if moments else 0.0,
        epsilon_alone=moments[-1].epsilon_alone if moments else 0.0,
    )


def _moments(
    entries: Sequence[ReleaseReserved],
    lines: Sequence[int],
    charges: Sequence[ChargeLine],
    *,
    delta: float,
) -> Iterable[Moment]:
    total = len(entries)
    shown = min(total, MOST_MOMENTS)
    wanted = {round((index + 1) * total / shown) for index in range(shown)}
    counts = [0] * len(charges)
    for number, (entry, line) in enumerate(zip(entries, lines, strict=True), start=1):
        counts[line] += 1
        if number in wanted:
            epsilon, alone = epsilons_of(charges, counts, delta=delta)
            yield Moment(
                sequence=entry.sequence,
                time=entry.time,
                releases=tuple(counts),
                epsilon=epsilon,
                epsilon_alone=alone,
            )


def _key(entry: ReleaseReserved) -> _LineKey:
    return (
        entry.study_name,
        entry.study_digest,
        entry.holdout,
        entry.sum,
        entry.event,
        entry.event_alone,
    )
