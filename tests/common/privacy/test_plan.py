from __future__ import annotations

import math
from typing import Any

import pytest

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.discrete_gaussian import TOTAL_VARIATION_PER_DRAW
from fedward.common.privacy.plan import PART_OF, PrivacyPlan, plan_for
from fedward.common.protocol.fields import MAX_SITES
from fedward.common.study.definition import Study


def study(
    *,
    training: dict[str, Any] | None = None,
    scaling: dict[str, Any] | None = None,
    statistics: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    minimum_sites: int = 2,
    **privacy: Any,
) -> Study:
    return Study.model_validate(
        {
            "about": {"name": "tiny", "title": "Tiny"},
            "features": [{"kind": "numeric", "name": "age", "unit": "a", "range": (0, 120)}],
            "target": {"name": "sick", "positive": ["1"], "negative": ["0"]},
            "cohort": {"expected_patients": 500, "minimum_sites": minimum_sites},
            "model": {"name": "logistic_regression"},
            "scaling": scaling or {},
            "statistics": statistics,
            "evaluation": evaluation or {},
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
    assert plan.sums == {"training": plan.training, "evaluation": plan.evaluation}
    assert 0.999 < plan.epsilon <= 1.0
    assert plan.training_epsilon == epsilon_of(plan.events, delta=plan.accounting_delta)
    assert (plan.training.clip, plan.training.count, plan.training.sampling_rate) == (0.5, 40, 1.0)
    assert plan.training.share_multiplier == pytest.approx(
        plan.training.noise_multiplier / math.sqrt(3)
    )
    alone = epsilon_of(plan.events_alone, delta=plan.accounting_delta)
    assert plan.training_epsilon_alone == alone > plan.training_epsilon


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
    assert list(plan.sums) == ["moments", "training", "evaluation"]
    assert plan.of("moments") is plan.scaler
    assert 0.999 < plan.training_epsilon <= 1.0


def test_scaler_with_sampled_training_stays_within_the_budget() -> None:
    training = {
        "method": "distributed",
        "rounds": 50,
        "learning_rate": 1.0,
        "batch": "poisson",
        "sampling_rate": 0.1,
    }
    plan = plan_for(study(training=training, scaling={"method": "private_moments"}), sites=3)
    assert 0.999 < plan.training_epsilon <= 1.0
    assert plan.training.sampling_rate == 0.1


def test_without_trust_each_site_adds_everything() -> None:
    plan = plan_for(study(training=LOCAL, trust="none"), sites=5)
    assert plan.training.count == 3 * math.ceil(2 / 0.3)
    assert plan.training.share_multiplier == plan.training.noise_multiplier
    assert plan.epsilon_alone == plan.epsilon
    assert plan.events == plan.events_alone
    assert plan.held_out_events == plan.held_out_events_alone


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


def test_held_out_patients_have_a_budget_of_their_own() -> None:
    plan = plan_for(study(), sites=4)
    whole = calibrated_noise_multiplier(epsilon=1.0, delta=1e-5, sampling_rate=1.0, count=1)
    assert plan.evaluation is not None
    assert plan.evaluation.noise_multiplier == pytest.approx(whole, rel=1e-9)
    assert (plan.evaluation.count, plan.evaluation.clip) == (1, 1.0)
    assert plan.held_out_events == (plan.evaluation.event(),)
    assert plan.held_out_epsilon == epsilon_of(plan.held_out_events, delta=plan.accounting_delta)
    assert 0.999 < plan.held_out_epsilon <= 1.0
    assert plan.epsilon == max(plan.training_epsilon, plan.held_out_epsilon)
    assert plan.epsilon_alone == max(plan.training_epsilon_alone, plan.held_out_epsilon_alone)
    # What is released about held-out patients costs training nothing.
    silent = plan_for(study(evaluation={"release": False}), sites=4)
    assert silent.training == plan.training
    assert (silent.evaluation, silent.held_out_events) == (None, ())
    assert (silent.held_out_epsilon, silent.held_out_epsilon_alone) == (0.0, 0.0)


def test_sites_own_evaluation_takes_half_and_holds_all_of_its_noise() -> None:
    groups = plan_for(study(), sites=5).evaluation
    plan = plan_for(study(evaluation={"per_site": True}), sites=5)
    assert groups is not None
    assert plan.evaluation is not None
    assert plan.site_evaluation is not None
    for half in (plan.evaluation, plan.site_evaluation):
        assert half.noise_multiplier == pytest.approx(groups.noise_multiplier * 2**0.5, rel=1e-4)
    assert plan.site_evaluation.share_multiplier == plan.site_evaluation.noise_multiplier
    assert plan.evaluation.share_multiplier == plan.evaluation.noise_multiplier / 2
    assert 0.999 < plan.held_out_epsilon <= 1.0
    alone = plan_for(study(evaluation={"per_site": True, "release": False}), sites=5)
    assert alone.evaluation is None
    assert alone.site_evaluation is not None
    assert alone.site_evaluation.noise_multiplier == groups.noise_multiplier


def test_counts_get_their_share_and_are_charged() -> None:
    scaling = {"method": "private_moments", "budget_share": 0.2}
    plan = plan_for(study(scaling=scaling, statistics={"budget_share": 0.05}), sites=4)
    whole = calibrated_noise_multiplier(epsilon=1.0, delta=1e-5, sampling_rate=1.0, count=1)
    assert plan.counts is not None
    assert plan.counts.noise_multiplier == pytest.approx(whole / math.sqrt(0.05), rel=1e-9)
    assert (plan.counts.count, plan.counts.clip, plan.counts.sampling_rate) == (1, 1.0, 1.0)
    assert 40 / plan.training.noise_multiplier**2 * whole**2 == pytest.approx(0.75, rel=1e-3)
    assert set(plan.sums_of_part("training")) == {"moments", "training", "counts"}
    assert len(plan.events) == 3
    assert 0.999 < plan.training_epsilon <= 1.0


def test_sums_are_listed_in_the_order_of_release() -> None:
    plan = plan_for(
        study(scaling={"method": "private_moments"}, statistics={}, evaluation={"per_site": True}),
        sites=4,
    )
    kinds = ["moments", "training", "evaluation", "site_evaluation", "counts"]
    assert list(plan.sums) == list(PART_OF) == kinds
    assert all(plan.of(kind) is sum_ for kind, sum_ in plan.sums.items())


@pytest.mark.parametrize("training", [None, LOCAL])
def test_spare_attempts_are_paid_for_in_advance(training: dict[str, Any] | None) -> None:
    tables: dict[str, Any] = {
        "training": training,
        "scaling": {"method": "private_moments"},
        "statistics": {},
        "evaluation": {"per_site": True},
        "trust": "none" if training else "sites",
    }
    planned = plan_for(study(**tables), sites=4)
    spared = plan_for(study(**tables, spare_attempts=3), sites=4)
    assert 0.999 < spared.training_epsilon <= 1.0
    assert 0.999 < spared.held_out_epsilon <= 1.0
    for kind, before in planned.sums.items():
        after = spared.sums[kind]
        each = math.ceil(2 / 0.3) if training and kind == "training" else 1
        assert after.count == before.count + 3 * each
        assert after.noise_multiplier > before.noise_multiplier
        if kind != "training":
            # The same part of the budget, over four sums where it was one.
            ratio = after.noise_multiplier / before.noise_multiplier
            assert ratio == pytest.approx(2, rel=1e-4)


def noise_of(plan: PrivacyPlan) -> dict[str, float]:
    return {kind: sum_.noise_multiplier for kind, sum_ in plan.sums.items()}


def test_the_noise_of_sums_does_not_depend_on_the_number_of_sites() -> None:
    # Here the sampler's gap is about 1e-5 of delta, so it would show if it were charged for the
    # sites of the roster.
    coordinates = 2**130
    for tables in ({}, {"scaling": {"method": "private_moments"}, "statistics": {}}):
        plans = [
            plan_for(study(delta=1e-10, **tables), sites=sites, coordinates=coordinates)
            for sites in (2, 3, 10, MAX_SITES)
        ]
        assert len({plan.accounting_delta for plan in plans}) == 1
        assert all(noise_of(plan) == noise_of(plans[0]) for plan in plans)
        assert plans[0].accounting_delta < 1e-10 * (1 - 1e-5)
        shares = [plan.training.share_multiplier for plan in plans]
        assert shares == sorted(shares, reverse=True)
        assert len(set(shares)) == len(shares)


def test_more_sites_than_a_roster_holds_are_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="more than 10000"):
        plan_for(study(), sites=MAX_SITES + 1)


def test_the_gap_covers_a_budget_spent_on_any_kind() -> None:
    counts = {"statistics": {"budget_share": 0.001}}
    gap = 1e-5 - plan_for(study(**counts), sites=2, coordinates=2**150).accounting_delta
    # 1000 counts could be asked for instead of 40 rounds and one count.
    draws = 2**150 * MAX_SITES * (1000 + 40)
    assert gap >= (1 + math.e) * TOTAL_VARIATION_PER_DRAW * draws


def test_a_more_cautious_site_adds_more_noise_of_its_own() -> None:
    usual = plan_for(study(minimum_sites=3), sites=10)
    cautious = plan_for(study(minimum_sites=3), sites=10, colluding=5)
    assert noise_of(cautious) == noise_of(usual)
    assert (usual.colluding, cautious.colluding) == (1, 5)
    for kind, sum_ in cautious.sums.items():
        assert sum_.share_multiplier == sum_.noise_multiplier / math.sqrt(5)
        assert sum_.share_multiplier > usual.sums[kind].share_multiplier
    assert cautious.epsilon_alone < usual.epsilon_alone
    assert cautious.epsilon == usual.epsilon


def test_a_site_cannot_be_less_cautious_than_the_study() -> None:
    plan = plan_for(study(colluding=2, minimum_sites=3), sites=10, colluding=0)
    assert plan == plan_for(study(colluding=2, minimum_sites=3), sites=10)
    assert plan.colluding == 2


@pytest.mark.parametrize("colluding", [4, 5])
def test_a_site_that_trusts_nobody_is_refused(colluding: int) -> None:
    with pytest.raises(PrivacyRefusal, match="no honest noise is left"):
        plan_for(study(), sites=4, colluding=colluding)


def test_a_single_site_that_fears_others_is_not_pooled() -> None:
    with pytest.raises(PrivacyRefusal, match="minimum_sites"):
        plan_for(study(colluding=0), sites=1, colluding=1)


def test_pooled_data_are_evaluated_at_the_same_noise() -> None:
    pooled = plan_for(study(evaluation={"per_site": True}), sites=1, pooled=True)
    sites = plan_for(study(evaluation={"per_site": True}), sites=4)
    assert noise_of(pooled) == noise_of(sites)
    assert all(s.share_multiplier == s.noise_multiplier for s in pooled.sums.values())
    assert pooled.epsilon_of_part("held_out") == pooled.epsilon_alone_of_part("held_out")
    assert pooled.epsilon_of_part("training") == pooled.training_epsilon
