from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import DistributedTraining, LocalTraining, Study
from fedward.simulations.arms import Arm, arms_of, changed, full_name, local_counterpart

MakeStudy = Callable[..., Study]
EPSILONS = (0.5, 1.0, 8.0)
KEY = re.compile(r"[a-z0-9][a-z0-9.-]*")


def of_kind(arms: tuple[Arm, ...], kind: str) -> list[Arm]:
    return [arm for arm in arms if arm.kind == kind]


def test_a_distributed_study_has_every_arm(study: Study) -> None:
    arms = arms_of(study, epsilons=EPSILONS)

    assert [arm.kind for arm in arms] == [
        "alone",
        "pooled",
        "federated",
        *["pooled_private"] * 3,
        *["federated_local"] * 3,
        *["federated_distributed"] * 3,
    ]


def test_a_local_study_has_no_distributed_arm(local_study: Study) -> None:
    arms = arms_of(local_study, epsilons=EPSILONS)

    assert of_kind(arms, "federated_distributed") == []
    for arm in arms:
        assert arm.study.training == local_study.training


@pytest.mark.parametrize("local", [False, True])
def test_arms_without_privacy_are_unprotected_and_the_others_protected(
    study: Study, local_study: Study, local: bool
) -> None:
    arms = arms_of(local_study if local else study, epsilons=EPSILONS)

    assert [arm.kind for arm in arms if not arm.protected] == ["alone", "pooled", "federated"]
    for arm in arms:
        assert (arm.target_epsilon is None) == (not arm.protected)
        if arm.protected:
            assert arm.target_epsilon == arm.study.privacy.epsilon


@pytest.mark.parametrize("local", [False, True])
def test_each_private_arm_is_a_valid_study_of_its_own(
    study: Study, local_study: Study, local: bool
) -> None:
    base = local_study if local else study
    arms = [arm for arm in arms_of(base, epsilons=EPSILONS) if arm.protected]

    for arm in arms:
        assert Study.model_validate(arm.study.model_dump()) == arm.study
        # What an arm may differ in; everything else is the same study.
        differing = {"training", "privacy"} | (
            {"evaluation"} if arm.kind == "pooled_private" else set()
        )
        for table in set(Study.model_fields) - differing:
            assert getattr(arm.study, table) == getattr(base, table)
        for field in ("delta", "clip"):
            assert getattr(arm.study.privacy, field) == getattr(base.privacy, field)
        if arm.kind == "federated_local":
            assert isinstance(arm.study.training, LocalTraining)
            assert arm.study.privacy.trust == "none"
        if arm.kind == "federated_distributed":
            assert isinstance(arm.study.training, DistributedTraining)
    digests = [arm.study.digest for arm in arms]
    assert len(set(digests)) == len(digests)


def test_only_federations_release_figures_of_held_out_patients(make_study: MakeStudy) -> None:
    study = make_study(
        evaluation={"groups": {"east": ["a", "b"]}, "per_site": True, "calibration_bins": 7}
    )
    for arm in arms_of(study, epsilons=(1.0,)):
        evaluation = arm.study.evaluation
        assert evaluation.release == evaluation.per_site == (arm.grouping == "federated")
        assert bool(evaluation.groups) == (arm.grouping == "federated")
        assert evaluation.calibration_bins == 7


def test_an_arm_is_named_with_its_epsilon(study: Study) -> None:
    arms = arms_of(study, epsilons=(0.5,))
    assert full_name(arms[0]) == "each hospital alone, not private"
    assert full_name(arms[-1]) == "federated, distributed DP, ε = 0.5"


def test_a_private_arm_meets_its_epsilon(study: Study) -> None:
    for arm in arms_of(study, epsilons=(1.0,)):
        if not arm.protected:
            continue
        pooled = arm.grouping == "pooled"
        plan = plan_for(arm.study, sites=1 if pooled else 3, pooled=pooled)
        assert plan.epsilon <= 1.0


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=6))
def test_keys_are_unique_and_name_folders_and_runs(study: Study, epsilons: list[float]) -> None:
    close = [math.nextafter(epsilon, 0) for epsilon in epsilons]
    arms = arms_of(study, epsilons=[*epsilons, *close, *epsilons])
    keys = [arm.key for arm in arms]

    assert len(set(keys)) == len(keys) == 3 + 3 * len({*epsilons, *close})
    assert all(KEY.fullmatch(key) and len(key) < 80 for key in keys)
    assert arms == arms_of(study, epsilons=[*close, *epsilons])


def test_keys_of_usual_epsilons_are_easy_to_read(study: Study) -> None:
    keys = [arm.key for arm in arms_of(study, epsilons=(0.5, 1.0))]

    assert keys[:5] == [
        "alone",
        "pooled",
        "federated",
        "pooled-private-epsilon-0.5",
        "pooled-private-epsilon-1",
    ]


def test_the_local_counterpart_keeps_what_is_not_about_method(make_study: MakeStudy) -> None:
    study = make_study(
        training={
            "method": "distributed",
            "rounds": 4,
            "learning_rate": 0.7,
            "momentum": 0.3,
            "l2": 0.01,
            "average_last": 2,
        }
    )
    local = local_counterpart(study)

    assert isinstance(local.training, LocalTraining)
    assert (local.training.learning_rate, local.training.momentum, local.training.l2) == (
        0.7,
        0.3,
        0.01,
    )
    assert local.privacy == study.privacy.model_copy(update={"trust": "none"})
    assert local_counterpart(local) is local


def test_changes_are_validated(study: Study) -> None:
    assert changed(study, {"privacy": {"epsilon": 2.0}}).privacy.epsilon == 2.0
    assert changed(study, {}) == study
    with pytest.raises(ValueError, match="epsilon"):
        changed(study, {"privacy": {"epsilon": -1.0}})
