"""What each study and each cohort of a ledger spent, recomputed by all accountants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedward.audits.books.accountants import Accountants, Answer, Job
from fedward.audits.books.budget_history import BudgetHistory
from fedward.audits.books.checks import Check
from fedward.audits.books.recomputation import charges_of, events_of, worst_events
from fedward.audits.books.result import CohortSpending, RecomputedEpsilon, StudySpending
from fedward.common.errors import PrivacyRefusal
from fedward.common.ledger.entries import ReleaseReserved
from fedward.common.privacy.cohort_spending import cohort_accounting_delta
from fedward.common.privacy.sum_plan import PART_OF, Part

_NOTHING: Job = ((), 0.5)
"""Of a cohort that was never charged; at whatever delta."""


@dataclass(frozen=True, kw_only=True)
class _StudyJobs:
    """One study, over one part of the patients of one cohort."""

    cohort: str
    part: Part
    entries: tuple[ReleaseReserved, ...]
    whole: Job
    alone: Job


@dataclass(frozen=True, kw_only=True)
class _CohortJobs:
    """All studies of a cohort, for its worst patient."""

    cohort: str
    releases: int
    whole: Job
    alone: Job


class LedgerSpending:
    """One ledger: first what is to be computed, then what came of it.

    Raises :class:`PrivacyRefusal` for a delta that no epsilon can be computed at.
    """

    def __init__(self, source: str, history: BudgetHistory) -> None:
        self._source = source
        self._history = history
        self._studies = tuple(_study_jobs(history))
        self._cohorts = tuple(_cohort_jobs(history))

    def jobs(self) -> Iterator[Job]:
        """Everything that accountants must answer."""
        for study in self._studies:
            yield from (study.whole, study.alone)
        for cohort in self._cohorts:
            yield from (cohort.whole, cohort.alone)

    def studies(self, answers: Mapping[Job, Answer], *, check: Check) -> tuple[StudySpending, ...]:
        """By cohort, study and part, in the order of their first releases.

        What the accountants do not agree on is an error of ``check``.
        """
        found = []
        for asked in self._studies:
            first, last = asked.entries[0], asked.entries[-1]
            where = f"{self._source}: {first.study_name}, {asked.part.replace('_', ' ')} patients"
            found.append(
                StudySpending(
                    cohort=asked.cohort,
                    study_name=first.study_name,
                    study_digest=first.study_digest,
                    part=asked.part,
                    delta=first.delta,
                    releases=len(asked.entries),
                    first=first.time,
                    last=last.time,
                    epsilon=_told(answers, asked.whole, where, check),
                    epsilon_alone=_told(answers, asked.alone, where, check),
                )
            )
        return tuple(found)

    def cohorts(self, answers: Mapping[Job, Answer], *, check: Check) -> tuple[CohortSpending, ...]:
        """By cohort, for the patients who were in the worst parts of its studies."""
        found = []
        for asked in self._cohorts:
            budget = self._history.budget(asked.cohort)
            where = f"{self._source}: cohort {asked.cohort}"
            found.append(
                CohortSpending(
                    cohort=asked.cohort,
                    delta=budget.delta if budget else None,
                    epsilon_cap=budget.epsilon_cap if budget else None,
                    epsilon_alone_cap=budget.epsilon_alone_cap if budget else None,
                    shares_patients_with=budget.shares_patients_with if budget else (),
                    releases=asked.releases,
                    epsilon=_told(answers, asked.whole, where, check),
                    epsilon_alone=_told(answers, asked.alone, where, check),
                )
            )
        return tuple(found)


def _study_jobs(history: BudgetHistory) -> Iterator[_StudyJobs]:
    for cohort in history.cohorts:
        groups: dict[tuple[str, Part], list[ReleaseReserved]] = {}
        for charge in history.charged(cohort):
            entry = charge.entry
            groups.setdefault((entry.study_digest, PART_OF[entry.sum]), []).append(entry)
        for (_, part), entries in groups.items():
            delta = entries[0].delta
            yield _StudyJobs(
                cohort=cohort,
                part=part,
                entries=tuple(entries),
                whole=(events_of(entries, alone=False), delta),
                alone=(events_of(entries, alone=True), delta),
            )


def _cohort_jobs(history: BudgetHistory) -> Iterator[_CohortJobs]:
    for cohort in history.cohorts:
        budget = history.budget(cohort)
        entries = [charge.entry for charge in history.charged(cohort)]
        delta = budget.delta if budget else min((one.delta for one in entries), default=None)
        yield _CohortJobs(
            cohort=cohort,
            releases=len(entries),
            whole=_worst(entries, alone=False, delta=delta),
            alone=_worst(entries, alone=True, delta=delta),
        )


def _worst(entries: list[ReleaseReserved], *, alone: bool, delta: float | None) -> Job:
    if delta is None or not entries:
        return _NOTHING
    charges = charges_of(entries, alone=alone)
    events = None if charges is None else worst_events(charges, delta=delta)[0]
    return events, cohort_accounting_delta(delta)


def _told(answers: Mapping[Job, Answer], job: Job, where: str, check: Check) -> RecomputedEpsilon:
    check.made()
    answer = Accountants.of(answers, job)
    if isinstance(answer, PrivacyRefusal):
        check.error(where, str(answer))
        return RecomputedEpsilon(epsilon=None, note=str(answer))
    return answer
