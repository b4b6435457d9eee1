"""What a study costs before it is run, beside what cohorts have left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from fedward.audits.books.plan_cost import cost_of_plan
from fedward.audits.books.plan_result import PlanCost
from fedward.client.site.site_settings import write_site_toml
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.policy import StudyCap
from fedward.common.errors import InputError, PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MakeLedger = Callable[..., Any]
Written = Callable[[Iterable[str]], Path]


@pytest.fixture
def plan(study: Study) -> PrivacyPlan:
    return plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)


def outlook(cost: PlanCost, *, alone: bool) -> Any:
    (found,) = (one for one in cost.cohorts if one.alone == alone)
    return found


def test_both_epsilons_and_all_sums_are_those_of_the_plan(study: Study, plan: PrivacyPlan) -> None:
    cost = cost_of_plan(study, sites=3)

    assert {one.kind: one.releases for one in cost.sums} == {
        kind: sums.count for kind, sums in plan.sums.items()
    }
    assert {one.part: (one.epsilon, one.epsilon_alone) for one in cost.parts} == {
        "training": (plan.training_epsilon, plan.training_epsilon_alone),
        "held_out": (plan.held_out_epsilon, plan.held_out_epsilon_alone),
    }
    assert cost.fits


def test_the_default_is_as_few_sites_as_the_study_allows(study: Study) -> None:
    assert cost_of_plan(study).sites == study.cohort.minimum_sites


def test_too_few_sites_are_a_refusal(study: Study) -> None:
    with pytest.raises(PrivacyRefusal, match="minimum_sites"):
        cost_of_plan(study, sites=1)


def test_what_a_ledger_spent_is_added_to_the_plan(
    study: Study, plan: PrivacyPlan, make_ledger: MakeLedger, written: Written
) -> None:
    ledger = make_ledger()
    charged = [ledger.drafts[at][1]["event"].event() for at in (2, 4, 6)]

    found = outlook(cost_of_plan(study, sites=3, ledgers=[written(ledger.lines())]), alone=False)

    planned = [sums.event(sums.count) for sums in plan.sums_of_part("training").values()]
    assert found.spent == epsilon_of(charged, delta=1e-5)
    assert found.after == pytest.approx(epsilon_of([*charged, *planned], delta=1e-5), abs=2e-4)
    assert found.left == pytest.approx(3.0 - found.after)
    # A study of epsilon 3 at delta 1e-4 does not fit into 3 at 1e-5.
    assert not found.fits


def test_releases_of_the_study_itself_are_not_counted_twice(
    study: Study, plan: PrivacyPlan, make_ledger: MakeLedger, written: Written
) -> None:
    event = plan.training.event()
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare(epsilon_cap=None)
    before = outlook(cost_of_plan(study, sites=3, ledgers=[written(ledger.lines())]), alone=False)
    for number in range(2):
        ledger.release(
            number,
            study_digest=study.digest,
            holdout=study.evaluation.holdout,
            event={"noise_multiplier": event.noise_multiplier, "sampling_rate": 1.0, "count": 1},
        )

    begun = outlook(cost_of_plan(study, sites=3, ledgers=[written(ledger.lines())]), alone=False)

    assert before.spent == 0.0 < begun.spent
    assert begun.after == pytest.approx(before.after, abs=2e-4)


def settings_of(folder: Path, *, cap: float, study_cap: StudyCap | None = None) -> Path:
    path = folder / "site.toml"
    budget = CohortBudget(name="patients", delta=1e-4, epsilon_cap=cap)
    write_site_toml(path, name="north", cohorts=[budget], study_cap=study_cap)
    return path


@pytest.mark.parametrize(("cap", "fits"), [(3.01, True), (2.9, False)])
def test_a_site_that_has_no_ledger_yet_has_spent_nothing(
    study: Study, tmp_path: Path, cap: float, fits: bool
) -> None:
    cost = cost_of_plan(study, sites=3, settings=[settings_of(tmp_path, cap=cap)])

    assert outlook(cost, alone=False).spent == 0.0
    assert outlook(cost, alone=True).cap is None
    assert cost.fits is fits


@pytest.mark.parametrize(("cap", "fits"), [(3.01, True), (2.9, False)])
def test_a_sites_own_cap_for_one_study_counts_too(
    study: Study, tmp_path: Path, cap: float, fits: bool
) -> None:
    settings = settings_of(tmp_path, cap=50.0, study_cap=StudyCap(epsilon_cap=cap))

    cost = cost_of_plan(study, sites=3, settings=[settings])

    assert cost.study_caps[0].cap == cap
    assert cost.fits is fits


def test_a_ledger_that_does_not_verify_is_refused(
    study: Study, make_ledger: MakeLedger, written: Written
) -> None:
    lines = make_ledger().lines()

    with pytest.raises(InputError, match="does not verify"):
        cost_of_plan(study, sites=3, ledgers=[written(lines[:4] + lines[5:])])
