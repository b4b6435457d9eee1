from __future__ import annotations

from collections.abc import Callable

from fedward.simulations.report.traffic import (
    KIND_NAMES,
    arms_with_traffic,
    detailed_arm,
    kind_rows,
    kinds_of,
    private_federated,
)
from fedward.simulations.results import ExperimentResult

Maker = Callable[..., ExperimentResult]


def test_private_federations_are_those_with_a_target(experiment: Maker) -> None:
    result = experiment(epsilons=(1.0, 3.0))
    found = [(arm.kind, arm.target_epsilon) for arm in private_federated(result)]

    assert found == [
        (kind, epsilon)
        for kind in ("federated_local", "federated_distributed")
        for epsilon in (1.0, 3.0)
    ]
    assert [arm.kind for arm in arms_with_traffic(result)] == ["federated"] + [
        kind for kind, _ in found
    ]


def test_the_arm_of_the_headline_is_shown_kind_by_kind(experiment: Maker) -> None:
    result = experiment(epsilons=(0.5, 1.0, 8.0), per_site=True)
    arm = detailed_arm(result)

    assert arm is not None
    assert (arm.kind, arm.target_epsilon) == ("federated_distributed", 1.0)
    assert [name for name, _ in kind_rows(arm)] == list(KIND_NAMES.values())
    assert kinds_of(result) == set(KIND_NAMES)


def test_without_messages_there_is_nothing_to_show(experiment: Maker) -> None:
    result = experiment(wire=False, epsilons=(1.0,))

    assert detailed_arm(result) is None
    assert kinds_of(result) == set()
    assert kind_rows(result.arms[0]) == []


def test_a_federation_without_privacy_is_shown_where_there_is_no_other(experiment: Maker) -> None:
    result = experiment(epsilons=(1.0,))
    bare = result.model_copy(update={"arms": result.arms[:3]})
    arm = detailed_arm(bare)

    assert arm is not None
    assert arm.kind == "federated"
