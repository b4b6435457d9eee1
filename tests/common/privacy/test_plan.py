from __future__ import annotations

import math
from typing import Any

import pytest

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.plan import SumPlan, plan_for
from fedward.common.study.definition import Study


def study(
    *,
    training: dict[str, Any] | None = None,
    scaling: dict[str, Any] | None = None,
    **privacy: Any,
) -> Study:
    return Study.model_validate(
        {
            "about": {"name": "tiny", "title": "Tiny"},
            "features": [{"kind": "numeric", "name": "age", "unit": "a", "range": (0, 120)}],
            "target": {"name": "sick", "positive": ["1"], "negative": ["0"]},
            "cohort": {"expected_patients": 500},
            "model": {"name": "logistic_regression"},
            "scaling": scaling or {},
            "training": training or {"method": "distributed", "rounds": 40, "learning_rate": 1.0},
            "privacy": {"epsilon": 1.0, "delta": 1e-5, **privacy},
        }
    )


LOCAL = {
    "method": "local",
    "rounds": 3,
    "epochs": 2,
    "learning_rate": 0.1,
    "sampling_rate": 0.3,
}


def test_distributed_plan_spends_the_budget_and_no_more() -> None:
    plan = plan_for(study(clip=0.5), sites=4)
    assert plan.scaler is None
    assert plan.sums == (plan.training,)
    assert 0.999 < plan.epsilon <= 1.0
    assert plan.epsilon == epsilon_of(plan.events, delta=plan.accounting_delta)
    assert (plan.training.clip, plan.training.count, plan.training.sampling_rate) == (0.5, 40, 1.0)
    assert plan.training.share_multiplier == pytest.approx(
        plan.training.noise_multiplier / math.sqrt(3)
    )
    assert plan.epsilon_alone == epsilon_of(plan.events_alone, delta=plan.accounting_delta)
    assert plan.epsilon_alone > plan.epsilon


def test_a_release_fewer_leaves_budget() -> None:
    plan = plan_for(study(), sites=4)
    assert epsilon_of([plan.training.event(39)], delta=plan.accounting_delta) < plan.epsilon


def test_scaler_gets_its_share_and_is_charged() -> None:
    scaling = {"method": "private_moments", "budget_share": 0.2}
    plan = plan_for(study(scaling=scaling), sites=4)
    assert plan.scaler is not None
    whole = calibrated_noise_multiplier(epsilon=1.0, delta=1e-5, sampling_rate=1.0, count=1)
    assert plan.scaler.noise_multiplier == pytest.approx(whole / math.sqrt(0.2), rel=1e-9)
    # Without sampling the budget is additive in 1/sigma^2: the training keeps the other 80 %.
    trained = 40 / plan.training.noise_multiplier**2
    assert trained * whole**2 == pytest.approx(0.8, rel=1e-3)
    assert (plan.scaler.count, plan.scaler.clip, plan.scaler.sampling_rate) == (1, 1.0, 1.0)
    assert plan.sums == (plan.scaler, plan.training)
    assert 0.999 < plan.epsilon <= 1.0


def test_scaler_with_sampled_training_stays_within_the_budget() -> None:
    training = {
        "method": "distributed",
        "rounds": 50,
        "learning_rate": 1.0,
        "batch": "poisson",
        "sampling_rate": 0.1,
    }
    plan = plan_for(study(training=training, scaling={"method": "private_moments"}), sites=3)
    assert 0.999 < plan.epsilon <= 1.0
    assert plan.training.sampling_rate == 0.1


def test_without_trust_each_site_adds_everything() -> None:
    plan = plan_for(study(training=LOCAL, trust="none"), sites=5)
    assert plan.training.count == 3 * math.ceil(2 / 0.3)
    assert plan.training.share_multiplier == plan.training.noise_multiplier
    assert plan.epsilon_alone == plan.epsilon
    assert plan.events == plan.events_alone


def test_colluding_sites_do_not_weaken_the_sum() -> None:
    for colluding in (0, 1):
        plan = plan_for(study(colluding=colluding), sites=10)
        honest = (10 - colluding) * plan.training.share_multiplier**2
        assert honest == pytest.approx(plan.training.noise_multiplier**2)


def test_many_sites_have_a_finite_bound_for_each_alone() -> None:
    plan = plan_for(study(epsilon=8.0), sites=500)
    assert 50 < plan.epsilon_alone < math.inf
    assert plan.epsilon <= 8.0


def test_pooled_plan_has_all_the_noise_in_one_place() -> None:
    pooled = plan_for(study(), sites=1, pooled=True)
    assert (pooled.colluding, pooled.epsilon_alone) == (0, pooled.epsilon)
    assert pooled.training.share_multiplier == pooled.training.noise_multiplier
    assert plan_for(study(colluding=0), sites=1) == pooled


@pytest.mark.parametrize(
    ("sites", "pooled", "message"),
    [(1, False, "minimum_sites"), (0, False, "minimum_sites"), (2, True, "Pooled")],
)
def test_wrong_numbers_of_sites_are_refused(sites: int, pooled: bool, message: str) -> None:
    with pytest.raises(PrivacyRefusal, match=message):
        plan_for(study(), sites=sites, pooled=pooled)


def test_the_samplers_gap_is_taken_off_delta() -> None:
    plan = plan_for(study(), sites=4, coordinates=31)
    assert plan.accounting_delta < plan.delta == 1e-5
    with pytest.raises(PrivacyRefusal, match="gap"):
        plan_for(study(), sites=4, coordinates=10**55)


def test_plans_are_cached_by_what_matters() -> None:
    first = plan_for(study(), sites=4)
    assert plan_for(study(), sites=4) is first
    assert plan_for(study(epsilon=0.9), sites=4) is not first


@pytest.mark.parametrize(
    "change",
    [{"clip": 0.0}, {"clip": math.inf}, {"share_multiplier": 6.0}, {"count": 0}],
)
def test_impossible_sums_are_refused(change: dict[str, float]) -> None:
    good = {
        "clip": 1.0,
        "sampling_rate": 1.0,
        "count": 1,
        "noise_multiplier": 5.0,
        "share_multiplier": 5.0,
    }
    SumPlan(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"clip|share_multiplier|count"):
        SumPlan(**{**good, **change})  # type: ignore[arg-type]
