from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.client.vault.protection import PlannedProtection
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.sum_plan import PART_OF
from fedward.common.protocol.releases import ExecutedNoise
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.release_log import ReleaseLog, ReleaseRecord
from fedward.server.spending import UNLIMITED, Spending

MakeStudy = Callable[..., Study]


@pytest.fixture(scope="module")
def plan(study: Study) -> PrivacyPlan:
    """A scaler sum, four rounds of training and an evaluation."""
    return plan_for(study, sites=3)


NOISE = ExecutedNoise(noise_multiplier=2.0, share_multiplier=1.0, sampling_rate=1.0, count=1)


def record(site: str, attempt: int = 1, **changes: Any) -> ReleaseRecord:
    fields: dict[str, Any] = {
        "site": site,
        "kind": "training",
        "session": 1,
        "round": 1,
        "attempt": attempt,
        "query_digest": f"{attempt}" * 64,
        "release_digest": None,
        "executed": NOISE,
        "masked": True,
        "bytes": 0,
        "query_bytes": 0,
        "summed": False,
        "charged": True,
        "failure": None,
    }
    return ReleaseRecord(**(fields | changes))


def test_what_is_left_is_what_the_site_that_spent_most_can_afford(plan: PrivacyPlan) -> None:
    log = ReleaseLog([record("a"), record("a", 2), record("b"), record("c", kind="evaluation")])
    spending = Spending(log, RunBudget(plan))
    aside = {"moments": 1}

    assert spending.left("training", sites="abc", set_aside=aside) == 2
    assert spending.left("training", sites="bc", set_aside=aside) == 3
    assert spending.left("training", sites="c", set_aside=aside) == 4
    assert spending.left("evaluation", sites="ab") == 1
    assert spending.left("evaluation", sites="abc") == 0
    assert spending.left("counts", sites="abc") == 0


def test_a_refusal_costs_nothing(plan: PrivacyPlan) -> None:
    log = ReleaseLog([record("a", charged=False, executed=None)])

    assert Spending(log, RunBudget(plan)).left("training", sites="a", set_aside={"moments": 1}) == 4


def test_rounds_of_local_training_cost_their_steps(make_study: MakeStudy) -> None:
    study = make_study(local=True)
    budget = RunBudget(plan_for(study, sites=3))
    log = ReleaseLog([record("a")], local_steps=2)

    assert Spending(log, budget).left("training", sites="a") == 2


def test_without_a_budget_there_is_no_end() -> None:
    log = ReleaseLog([record("a", attempt) for attempt in range(1, 9)])

    assert Spending(log, None).left("training", sites="a") == UNLIMITED
    assert Spending(ReleaseLog(), None).planned("training", sites=3) is None


@pytest.mark.parametrize("trust", ["sites", "none"])
@pytest.mark.parametrize("sites", [2, 3, 7])
def test_a_release_costs_what_a_vault_executes_over_as_many_sites(
    make_study: MakeStudy, trust: str, sites: int
) -> None:
    study = make_study(
        privacy={"trust": trust}, evaluation={"per_site": True}, statistics={"budget_share": 0.1}
    )
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    spending = Spending(ReleaseLog(), RunBudget(plan))

    for kind in PART_OF:
        rules = PlannedProtection().rules(study, kind, sites=sites, colluding=0)
        assert spending.planned(kind, sites=sites) == rules.executed


def test_a_round_of_local_training_costs_its_steps(make_study: MakeStudy) -> None:
    study = make_study(local=True)
    plan = plan_for(study, sites=3)
    planned = Spending(ReleaseLog(local_steps=2), RunBudget(plan)).planned("training", sites=2)

    assert planned is not None
    assert (planned.sampling_rate, planned.count) == (0.5, 2)
    # Nobody relies on the noise of others.
    assert planned.share_multiplier == planned.noise_multiplier == plan.training.noise_multiplier


def test_what_the_study_does_not_plan_has_no_price(plan: PrivacyPlan) -> None:
    with pytest.raises(ValueError, match="the study plans no counts sum"):
        Spending(ReleaseLog(), RunBudget(plan)).planned("counts", sites=3)
