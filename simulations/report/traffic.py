"""What crossed the wire, as the rows of two tables."""

from __future__ import annotations

from typing import Final

from fedward.simulations.report.headline import chosen_arms
from fedward.simulations.results import ArmResult, ExperimentResult, SumTraffic

KIND_NAMES: Final = {
    "moments": "moments of the features",
    "training": "a round of training",
    "evaluation": "evaluation of a group of hospitals",
    "site_evaluation": "evaluation of each hospital",
    "counts": "counts of training patients",
}
"""Each kind of sum, in the order in which a run asks for them."""


def private_federated(result: ExperimentResult) -> list[ArmResult]:
    """The arms in which hospitals send noised sums."""
    return [
        arm
        for arm in result.arms
        if arm.kind.startswith("federated") and arm.target_epsilon is not None
    ]


def kinds_of(result: ExperimentResult) -> frozenset[str]:
    """The kinds of sums that private federated arms asked for."""
    return frozenset(
        one.kind for arm in private_federated(result) if arm.traffic for one in arm.traffic.by_kind
    )


def arms_with_traffic(result: ExperimentResult) -> list[ArmResult]:
    """The arms of which messages were counted."""
    return [arm for arm in result.arms if arm.traffic is not None]


def detailed_arm(result: ExperimentResult) -> ArmResult | None:
    """The arm whose traffic is shown kind by kind: that of the headline, or else the last."""
    arms = arms_with_traffic(result)
    for arm in chosen_arms(result):
        if any(arm is one for one in arms):
            return arm
    return arms[-1] if arms else None


def kind_rows(arm: ArmResult) -> list[tuple[str, SumTraffic]]:
    """Each kind of sum with its name, in the order of a run."""
    found = {one.kind: one for one in (arm.traffic.by_kind if arm.traffic else ())}
    return [(KIND_NAMES[kind], found[kind]) for kind in KIND_NAMES if kind in found]
