"""What a training has spent of its budget: on the way for display, in the end for the record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedward.common.privacy.accounting import (
    AccountedEpsilon,
    cross_checked_epsilon,
    displayed_epsilon,
    epsilon_of,
)
from fedward.common.privacy.plan import Part, PrivacyPlan
from fedward.common.study.definition import LocalTraining, Study
from fedward.server.release_log import ReleaseRecord
from fedward.simulations.federation import executed_events

PARTS: tuple[Part, ...] = ("training", "held_out")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Both epsilons of a run, each the worst over its sites and over both parts of patients."""

    epsilon: AccountedEpsilon
    epsilon_alone: float


def spent_by(records: Sequence[ReleaseRecord], *, sites: Iterable[str], delta: float) -> Spent:
    """Account for what was executed; ``delta`` is the plan's for accounting. One site at least.

    A patient is in one part, so the larger of the two is what any of them has spent.
    """
    both = [executed_events(records, site=site, part=part) for site in sites for part in PARTS]
    checked = [cross_checked_epsilon(whole, delta=delta) for whole, _ in both]
    return Spent(
        epsilon=max(checked, key=lambda found: found.epsilon),
        epsilon_alone=max(epsilon_of(own, delta=delta) for _, own in both),
    )


def spent_after(
    plan: PrivacyPlan | None, study: Study, *, rounds: int, lost: int = 0
) -> float | None:
    """Epsilon of the scaler and the first ``rounds`` rounds; None without privacy.

    ``lost`` attempts at a round count as well. Quick, and close to the number of record. What a run
    is said to have cost in the end is accounted from its executed events instead.
    """
    if plan is None:
        return None
    training = study.training
    steps = training.steps_per_round if isinstance(training, LocalTraining) else 1
    events = [plan.scaler.event()] if plan.scaler else []
    if rounds + lost:
        events.append(plan.training.event((rounds + lost) * steps))
    return displayed_epsilon(events, delta=plan.accounting_delta)
