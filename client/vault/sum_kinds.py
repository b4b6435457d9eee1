"""Which kind of sum a query asks for, and whether the study plans it at that place of a run."""

from __future__ import annotations

from fedward.client.vault.policy import Refused
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.queries import (
    AnySumQuery,
    CountsQuery,
    EvaluationQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    MomentsQuery,
)
from fedward.common.protocol.releases import RefusalReason
from fedward.common.protocol.round_numbers import (
    MOMENTS_ROUND,
    counts_round,
    evaluation_round,
    site_evaluation_round,
)
from fedward.common.study.definition import DistributedTraining, LocalTraining, Study


def planned_kind(query: AnySumQuery, study: Study) -> SumKind:
    """The kind of sum; Refused with ``not_in_study`` if the study plans none in this round.

    A place of a run has one kind, so that a vault's record of places is one of questions too.
    """
    kind, planned, rounds = _plan_of(query, study)
    if not planned:
        raise _not_in_study(f"the study plans no {query.kind}")
    if query.round not in rounds:
        raise _not_in_study(f"the study plans no {query.kind} in round {query.round}")
    return kind


def executed_count(kind: SumKind, study: Study) -> int:
    """How many noised sums one release of this kind stands for: a local update's are its steps."""
    if kind == "training" and isinstance(study.training, LocalTraining):
        return study.training.steps_per_round
    return 1


def _plan_of(query: AnySumQuery, study: Study) -> tuple[SumKind, bool, range]:
    """The kind, whether the study plans it, and the rounds in which it does."""
    if isinstance(query, MomentsQuery):
        return "moments", study.scaling.method == "private_moments", _only(MOMENTS_ROUND)
    if isinstance(query, CountsQuery):
        return "counts", study.statistics is not None, _only(counts_round(study))
    if isinstance(query, GradientSumQuery | LocalUpdateQuery):
        wanted = LocalTraining if isinstance(query, LocalUpdateQuery) else DistributedTraining
        return (
            "training",
            isinstance(study.training, wanted),
            range(1, study.training.rounds + 1),
        )
    if isinstance(query, EvaluationQuery):
        return "evaluation", study.evaluation.release, _only(evaluation_round(study))
    return "site_evaluation", study.evaluation.per_site, _only(site_evaluation_round(study))


def _only(number: int) -> range:
    return range(number, number + 1)


def _not_in_study(message: str) -> Refused:
    return Refused(RefusalReason.NOT_IN_STUDY, message)
