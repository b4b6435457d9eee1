"""How much of the budget a training has spent after some of its rounds, for display."""

from __future__ import annotations

from fedward.common.privacy.accounting import displayed_epsilon
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.study.definition import LocalTraining, Study


def spent_after(plan: PrivacyPlan | None, study: Study, *, rounds: int) -> float | None:
    """Epsilon of the scaler and the first ``rounds`` rounds; None without privacy.

    Quick, and close to the number of record. What a run is said to have cost in the end is
    accounted from its executed events instead.
    """
    if plan is None:
        return None
    training = study.training
    steps = training.steps_per_round if isinstance(training, LocalTraining) else 1
    events = [plan.scaler.event()] if plan.scaler else []
    if rounds:
        events.append(plan.training.event(rounds * steps))
    return displayed_epsilon(events, delta=plan.accounting_delta)
