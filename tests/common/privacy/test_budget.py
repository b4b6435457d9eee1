from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.gaussian_mechanism import gaussian_epsilon, merged
from fedward.common.privacy.plan import PART_OF, Part, PrivacyPlan, SumKind, plan_for
from fedward.common.study.definition import Study

TRAININGS: dict[str, dict[str, Any]] = {
    "full": {"method": "distributed", "rounds": 6, "learning_rate": 1.0},
    "poisson": {
        "method": "distributed",
        "rounds": 6,
        "learning_rate": 1.0,
        "batch": "poisson",
        "sampling_rate": 0.3,
    },
    "local": {
        "method": "local",
        "rounds": 2,
        "epochs": 1,
        "learning_rate": 0.1,
        "sampling_rate": 0.4,
    },
}


def plan_of(training: str = "full", *, spare_attempts: int = 0, **tables: Any) -> PrivacyPlan:
    document: dict[str, Any] = {
        "about": {"name": "tiny", "title": "Tiny"},
        "features": [{"kind": "numeric", "name": "age", "unit": "a", "range": (0, 120)}],
        "target": {"name": "sick", "positive": ["1"], "negative": ["0"]},
        "cohort": {"expected_patients": 500},
        "model": {"name": "logistic_regression"},
        "scaling": {"method": "private_moments"},
        "statistics": {"budget_share": 0.05},
        "training": TRAININGS[training],
        "evaluation": {"per_site": True},
        "privacy": {
            "epsilon": 1.0,
            "delta": 1e-5,
            "trust": "none" if training == "local" else "sites",
            "spare_attempts": spare_attempts,
        },
    }
    return plan_for(Study.model_validate(document | tables), sites=3)


def exact_epsilon(
    plan: PrivacyPlan, charged: Counter[SumKind], part: Part, *, alone: bool = False
) -> float:
    events = [
        plan.sums[kind].event_alone(n) if alone else plan.sums[kind].event(n)
        for kind, n in charged.items()
        if n and PART_OF[kind] == part
    ]
    if not events:
        return 0.0
    (one,) = merged(events)
    noise = one.noise_multiplier
    return gaussian_epsilon(noise_multiplier=noise, delta=plan.accounting_delta)


REQUESTS = st.lists(st.tuples(st.sampled_from(list(PART_OF)), st.integers(1, 3)), max_size=60)


@given(requests=REQUESTS, spares=st.sampled_from([0, 2]))
def test_no_sequence_of_sums_spends_more_than_the_plan(
    requests: list[tuple[SumKind, int]], spares: int
) -> None:
    plan = plan_of(spare_attempts=spares)
    budget = RunBudget(plan)
    charged: Counter[SumKind] = Counter()
    for kind, count in requests:
        if budget.allows(charged, kind, count):
            charged[kind] += count
    for part in ("training", "held_out"):
        assert exact_epsilon(plan, charged, part) <= plan.epsilon_of_part(part)
        alone = exact_epsilon(plan, charged, part, alone=True)
        assert alone <= plan.epsilon_alone_of_part(part)
    # A sum over training patients that is refused would have gone beyond what was planned.
    for kind in plan.sums_of_part("training"):
        if not budget.allows(charged, kind, 1):
            more = charged + Counter({kind: 1})
            assert exact_epsilon(plan, more, "training") > exact_epsilon(
                plan, Counter({k: s.count for k, s in plan.sums.items()}), "training"
            )


@settings(max_examples=8)
@given(
    requests=st.lists(st.tuples(st.sampled_from(list(PART_OF)), st.integers(1, 3)), min_size=30),
    training=st.sampled_from(["full", "poisson", "local"]),
)
def test_the_accountant_of_record_agrees(
    requests: list[tuple[SumKind, int]], training: str
) -> None:
    plan = plan_of(training, spare_attempts=1)
    budget = RunBudget(plan)
    charged: Counter[SumKind] = Counter()
    for kind, count in requests:
        if budget.allows(charged, kind, count):
            charged[kind] += count
    for part in ("training", "held_out"):
        chosen = plan.sums_of_part(part)
        events = [plan.event(charged[kind]) for kind, plan in chosen.items() if charged[kind]]
        spent = epsilon_of(events, delta=plan.accounting_delta)
        assert spent <= plan.epsilon_of_part(part) <= 1.0


@pytest.mark.parametrize("training", list(TRAININGS))
@pytest.mark.parametrize("spares", [0, 2])
def test_all_that_is_planned_fits_and_nothing_more(training: str, spares: int) -> None:
    plan = plan_of(training, spare_attempts=spares)
    budget = RunBudget(plan)
    charged: Counter[SumKind] = Counter()
    for kind, sum_ in reversed(plan.sums.items()):
        for _ in range(sum_.count):
            assert budget.allows(charged, kind, 1)
            charged[kind] += 1
    assert charged == {kind: sum_.count for kind, sum_ in plan.sums.items()}
    for kind in plan.sums:
        assert not budget.allows(charged, kind, 1)
        assert budget.releases_left(charged, kind, per_release=1) == 0


def test_a_repeated_scaler_sum_is_paid_for_by_later_rounds() -> None:
    plan = plan_of()
    budget = RunBudget(plan)
    assert budget.allows({"moments": 1}, "moments", 1)
    left = budget.releases_left({"moments": 2}, "training", per_release=1)
    spared = budget.releases_left(
        {"moments": 2}, "training", per_release=1, set_aside={"counts": 1}
    )
    # A scaler sum takes a fifth of the budget, a round an eighth of the remaining three quarters.
    assert 0 < left < 6
    assert spared <= left
    assert budget.allows({"moments": 2, "training": left - 1}, "training", 1)
    assert not budget.allows({"moments": 2, "training": left}, "training", 1)


def test_what_is_set_aside_still_fits_afterwards() -> None:
    plan = plan_of()
    budget = RunBudget(plan)
    unsaved = budget.releases_left({"moments": 1}, "training", per_release=1)
    saved = budget.releases_left(
        {"moments": 1}, "training", per_release=1, set_aside={"counts": 1, "evaluation": 9}
    )
    assert saved == 6 == unsaved  # a round costs more than the counts do
    moments = budget.releases_left({"training": 4}, "moments", per_release=1)
    kept = budget.releases_left(
        {"training": 4}, "moments", per_release=1, set_aside={"training": 2}
    )
    assert moments > kept == 1
    assert budget.allows({"training": 4, "moments": kept}, "training", 2)


def test_kinds_do_not_pay_for_each_other_where_patients_are_sampled() -> None:
    budget = RunBudget(plan_of("poisson", spare_attempts=1))
    assert budget.allows({}, "moments", 2)
    assert not budget.allows({}, "moments", 3)
    assert budget.releases_left({"moments": 2}, "training", per_release=1) == 7
    assert budget.releases_left({}, "training", per_release=1, set_aside={"training": 3}) == 4
    assert budget.releases_left({}, "training", per_release=1, set_aside={"counts": 2}) == 7


def test_a_shared_sum_does_not_stand_in_for_a_sites_own() -> None:
    """Its share of the noise is smaller, so epsilon_alone would rise beyond the plan's."""
    plan = plan_of()
    budget = RunBudget(plan)
    assert budget.allows({"evaluation": 1}, "site_evaluation", 1)
    assert not budget.allows({"evaluation": 1}, "evaluation", 1)
    twice = Counter[SumKind]({"evaluation": 2})
    assert exact_epsilon(plan, twice, "held_out") <= plan.held_out_epsilon
    assert exact_epsilon(plan, twice, "held_out", alone=True) > plan.held_out_epsilon_alone


def test_local_rounds_are_charged_by_their_steps() -> None:
    plan = plan_of("local", spare_attempts=1)
    budget = RunBudget(plan)
    assert plan.training.count == 9  # 2 rounds and 1 spare, of 3 steps each
    assert budget.releases_left({}, "training", per_release=3) == 3
    assert budget.releases_left({"training": 6}, "training", per_release=3) == 1
    assert not budget.allows({"training": 7}, "training", 3)


def test_the_parts_do_not_share_a_budget() -> None:
    plan = plan_of()
    budget = RunBudget(plan)
    trained: dict[SumKind, int] = {"moments": 1, "training": 6, "counts": 1}
    assert budget.allows(trained, "evaluation", 1)
    assert not budget.allows(trained, "evaluation", 2)
    assert budget.allows({"evaluation": 1}, "training", 6)


def test_what_is_not_planned_is_never_allowed() -> None:
    plan = plan_of(scaling={}, statistics=None, evaluation={"release": False})
    budget = RunBudget(plan)
    for kind in ("moments", "counts", "evaluation", "site_evaluation"):
        assert not budget.allows({}, kind, 1)
        assert budget.releases_left({}, kind, per_release=1) == 0
    assert budget.allows({}, "training", 6)
    # A release that the plan does not know may have cost anything.
    assert not budget.allows({"moments": 1}, "training", 1)
    assert budget.allows({"evaluation": 1}, "training", 1)


def test_more_than_planned_of_another_kind_closes_a_sampled_part() -> None:
    budget = RunBudget(plan_of("poisson"))
    assert not budget.allows({"moments": 2}, "training", 1)
    full = RunBudget(plan_of())
    assert full.allows({"moments": 2}, "training", 1)
    assert not full.allows({"moments": 5}, "counts", 1)


@pytest.mark.parametrize("count", [0, -1])
def test_counts_below_1_are_errors(count: int) -> None:
    budget = RunBudget(plan_of())
    with pytest.raises(ValueError, match="at least 1"):
        budget.allows({}, "training", count)
    with pytest.raises(ValueError, match="at least 1"):
        budget.releases_left({}, "training", per_release=count)
    with pytest.raises(ValueError, match="negative"):
        budget.allows({"moments": -1}, "training", 1)
    with pytest.raises(ValueError, match="negative"):
        budget.releases_left({}, "training", per_release=1, set_aside={"counts": -1})
