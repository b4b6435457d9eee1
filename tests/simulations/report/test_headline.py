from __future__ import annotations

from collections.abc import Callable

from fedward.simulations.report.arms import label_of, nearest_to_one, of_kind, one_per_kind
from fedward.simulations.report.headline import headline_of
from fedward.simulations.results import ArmKind, ExperimentResult

Maker = Callable[..., ExperimentResult]


def only(result: ExperimentResult, *kinds: ArmKind) -> ExperimentResult:
    return result.model_copy(update={"arms": [arm for arm in result.arms if arm.kind in kinds]})


def test_headline_takes_the_private_federated_arm_nearest_to_one(experiment: Maker) -> None:
    result = experiment()
    arm = next(
        arm
        for arm in result.arms
        if arm.kind == "federated_distributed" and arm.target_epsilon == 1.0
    )
    pooled = next(arm for arm in result.arms if arm.kind == "pooled")
    sentence = headline_of(result).sentence
    assert sentence.startswith(
        f"Federated with privacy at epsilon 1.00 reaches {arm.summary['accuracy'].mean:.3f} "
        f"accuracy, pooled without privacy {pooled.summary['accuracy'].mean:.3f}, "
    )


def test_headline_without_baselines_or_without_privacy(experiment: Maker) -> None:
    result = experiment()
    assert "pooled" not in headline_of(only(result, "federated_distributed")).sentence
    assert headline_of(only(result, "federated_local")).sentence.startswith(
        "Federated with privacy"
    )
    assert headline_of(only(result, "pooled_private")).sentence.startswith("Pooled with privacy")
    assert headline_of(only(result, "federated")).sentence.startswith("Federated, not private: 0.")
    assert headline_of(only(result)).sentence == "No arm was evaluated."


def test_nearness_to_one_is_by_ratio(experiment: Maker) -> None:
    arms = of_kind(experiment(epsilons=(0.2, 3.0)).arms, "federated_distributed")
    found = nearest_to_one(arms)
    assert found is not None
    assert found.target_epsilon == 3.0
    assert nearest_to_one([]) is None


def test_one_arm_of_each_kind_is_drawn(experiment: Maker) -> None:
    chosen = one_per_kind(experiment().arms)
    assert len({arm.kind for arm in chosen}) == len(chosen) == 6
    assert {arm.target_epsilon for arm in chosen} == {None, 1.0}


def test_standard_labels() -> None:
    assert label_of("pooled", None) == "Pooled, not private"
    assert label_of("federated_distributed", 0.5) == "Federated, sites share the noise, ε = 0.5"
