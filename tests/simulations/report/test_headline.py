from __future__ import annotations

from collections.abc import Callable

from fedward.simulations.report.arms import (
    full_label,
    label_of,
    nearest_to_one,
    of_kind,
    one_per_kind,
)
from fedward.simulations.report.headline import headline_of
from fedward.simulations.results import ArmKind, ExperimentResult

Maker = Callable[..., ExperimentResult]


def only(result: ExperimentResult, *kinds: ArmKind) -> ExperimentResult:
    return result.model_copy(update={"arms": [arm for arm in result.arms if arm.kind in kinds]})


def test_headline_takes_the_private_federated_arm_nearest_to_one(experiment: Maker) -> None:
    result = experiment(masked=False)
    arm = next(
        arm
        for arm in result.arms
        if arm.kind == "federated_distributed" and arm.target_epsilon == 1.0
    )
    pooled = next(arm for arm in result.arms if arm.kind == "pooled")
    sentence = headline_of(result).sentence
    assert sentence.startswith(
        "Federated with privacy at epsilon 1.00 (1.94 against the coordinator) reaches "
        f"{arm.summary['accuracy'].mean:.3f} "
        f"accuracy, pooled without privacy {pooled.summary['accuracy'].mean:.3f}, "
    )


def test_with_masks_one_epsilon_holds_against_the_coordinator_too(experiment: Maker) -> None:
    headline = headline_of(experiment())
    assert headline.sentence.startswith("Federated with privacy at epsilon 1.00 reaches ")
    assert "coordinator" not in headline.sentence
    assert all(figure.epsilons is None for figure in headline.figures)


def test_without_masks_the_card_says_whom_each_epsilon_is_for(experiment: Maker) -> None:
    private, *others = headline_of(experiment(masked=False)).figures
    assert private.epsilons == (
        "ε 1.00 for whoever sees only the sums and the model, 1.94 against the coordinator"
    )
    assert all(figure.epsilons is None for figure in others)


def test_equal_epsilons_are_said_once(experiment: Maker) -> None:
    headline = headline_of(only(experiment(masked=False), "federated_local"))
    assert headline.sentence.startswith("Federated with privacy at epsilon 1.00 reaches ")
    assert headline.figures[0].epsilons is None


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


def test_a_label_is_told_its_epsilon_once(experiment: Maker) -> None:
    plain, *_, private = experiment().arms
    assert full_label(plain) == plain.label == "Each hospital alone"
    assert full_label(private) == private.label == "Federated, distributed DP, ε = 8"
    unnamed = private.model_copy(update={"label": "distributed DP"})
    assert full_label(unnamed) == "distributed DP, ε = 8"


def test_standard_labels() -> None:
    assert label_of("pooled", None) == "Pooled, not private"
    assert label_of("federated_distributed", 0.5) == "Federated, sites share the noise, ε = 0.5"
