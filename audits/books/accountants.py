"""Many epsilons by all accountants; of large books with Opacus in a second process.

Opacus takes seconds to import, and PRV tenths of a second for an epsilon. So while the lines of a
large ledger are verified here, the second process imports it, and it answers while dp_accounting
computes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, TypeAlias

from fedward.audits.books.opacus_process import OpacusProcess
from fedward.audits.books.recomputation import question_of, recomputed
from fedward.audits.books.result import RecomputedEpsilon
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import rdp_epsilon
from fedward.common.privacy.cross_check import OpacusOpinion
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import merged

Job: TypeAlias = tuple[tuple[GaussianEvent, ...] | None, float]
"""Events, None if one of them had no noise, and a delta."""
Answer: TypeAlias = RecomputedEpsilon | PrivacyRefusal
MANY_LINES = 2_000
"""Lines of all ledgers from which a second process is worth its start."""


class Accountants:
    """Answers jobs. ``apart`` begins the second process; it ends with the context."""

    def __init__(self, *, apart: bool) -> None:
        self._opacus = OpacusProcess() if apart else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opacus is not None:
            self._opacus.kill()

    def answers(self, jobs: Iterable[Job]) -> Mapping[Job, Answer]:
        """Every job's epsilon, or why the accountants refuse it; equal jobs are computed once."""
        wanted = list(dict.fromkeys((_merged(events), delta) for events, delta in jobs))
        opinions = self._opinions(wanted)
        return {job: _answer(job, opinions.get(job)) for job in wanted}

    @staticmethod
    def of(answers: Mapping[Job, Answer], job: Job) -> Answer:
        """The answer to one of the jobs."""
        events, delta = job
        return answers[_merged(events), delta]

    def _opinions(self, wanted: Iterable[Job]) -> Mapping[Job, OpacusOpinion | PrivacyRefusal]:
        """The second process's, of all jobs that it was asked about; none if it died."""
        if self._opacus is None:
            return {}
        asked = []
        for job in wanted:
            try:
                question = question_of(job[0], delta=job[1])
            except (PrivacyRefusal, ArithmeticError, MemoryError):
                continue  # told when it is answered
            if question is not None:
                self._opacus.ask(question.events, delta=question.delta, epsilon=question.epsilon)
                asked.append((job, question))
        for _, question in asked:
            rdp_epsilon(question.events, delta=question.delta)  # kept for later, while it answers
        opacus, self._opacus = self._opacus, None
        answers = opacus.answers()
        return (
            {}
            if answers is None
            else {job: answer for (job, _), answer in zip(asked, answers, strict=True)}
        )


def _merged(events: tuple[GaussianEvent, ...] | None) -> tuple[GaussianEvent, ...] | None:
    return None if events is None else merged(events)


def _answer(job: Job, opinion: OpacusOpinion | PrivacyRefusal | None) -> Answer:
    events, delta = job
    if isinstance(opinion, PrivacyRefusal):
        return opinion
    try:
        return recomputed(events, delta=delta, opinion=opinion)
    except PrivacyRefusal as refusal:
        return refusal
    except (ArithmeticError, MemoryError) as error:
        return PrivacyRefusal(f"An accountant failed, so no epsilon is given: {error}.")
