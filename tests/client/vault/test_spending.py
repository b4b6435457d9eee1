from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fedward.client.vault.charges import ChargeCounts, study_charges
from fedward.client.vault.cohort_budget import CohortBudget, by_name
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry, MemoryLedger
from fedward.client.vault.policy import Refused, SitePolicy, StudyCap
from fedward.client.vault.spending import refuse_overspending
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.cohort_spending import cohort_accounting_delta, worst_patient_epsilon
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MakeStudy = Callable[..., Study]
LedgerOf = Callable[..., DurableLedger]
DELTA = 1e-4


def plan_of(study: Study, *, sites: int = 3) -> PrivacyPlan:
    return plan_for(study, sites=sites, coordinates=Dimensions.of(study).longest)


def entry_for(study: Study, kind: SumKind = "training", **changes: Any) -> LedgerEntry:
    """What the gate reserves for a sum over three sites."""
    planned = plan_of(study).of(kind)
    assert planned is not None
    entry = LedgerEntry(
        run_id="run",
        study_digest=study.digest,
        study_name=study.about.name,
        query_digest="0" * 64,
        kind=kind,
        round=1,
        attempt=1,
        sites=3,
        delta=study.privacy.delta,
        holdout=study.evaluation.holdout,
        cohorts=("patients",),
        event=planned.event(),
        event_alone=planned.event_alone(),
    )
    return replace(entry, **changes)


def budgets(*found: CohortBudget) -> Mapping[str, CohortBudget]:
    return by_name(found)


class Declaring(MemoryLedger):
    """In memory, with budgets of its own."""

    def __init__(self, declared: Iterable[CohortBudget]) -> None:
        super().__init__()
        self._charges = ChargeCounts(budgets=by_name(declared))


@pytest.fixture
def ledger_of(tmp_path: Path, open_ledger: Callable[..., DurableLedger]) -> LedgerOf:
    """A new ledger on the disk that declares these budgets."""
    numbers = count()

    def make(*declared: CohortBudget) -> DurableLedger:
        return open_ledger(tmp_path / f"{next(numbers)}.sqlite", cohorts=declared)

    return make


@dataclass
class Site:
    """Asks for one release after another, each under the site's policy."""

    caps: dict[str, Any]
    ledger: MemoryLedger | DurableLedger = field(default_factory=MemoryLedger)
    asked: int = 0

    def reserve(self, study: Study, kind: SumKind = "training", **changes: Any) -> LedgerEntry:
        policy = SitePolicy(federation_key=bytes(32), known_keys={}, **self.caps)
        self.asked += 1
        entry = entry_for(study, kind, **({"round": self.asked} | changes))
        self.ledger.reserve(
            entry,
            check=lambda charged: refuse_overspending(
                entry, charged=charged, plan=plan_of(study), policy=policy, site="north"
            ),
        )
        return entry

    def refusal(self, study: Study, kind: SumKind = "training", **changes: Any) -> Refused:
        before = self.ledger.entries()
        with pytest.raises(Refused) as caught:
            self.reserve(study, kind, **changes)
        assert self.ledger.entries() == before
        return caught.value

    def reserve_all(self, study: Study, kind: SumKind = "training", **changes: Any) -> int:
        """Ask until it is refused: how many there were."""
        done = 0
        while True:
            try:
                self.reserve(study, kind, **changes)
            except Refused:
                return done
            done += 1

    def spent(self, cohort: str, *, alone: bool = False) -> float:
        charges = study_charges(self.ledger.charged().of_cohort(cohort), alone=alone)
        assert charges is not None
        return worst_patient_epsilon(charges, delta=DELTA)


@pytest.fixture(scope="session")
def sampled(make_study: MakeStudy) -> Study:
    """Trains on samples of the patients, and evaluates."""
    return make_study(local=True)


@pytest.fixture(scope="session")
def studies(make_study: MakeStudy) -> list[Study]:
    return [make_study(about={"version": number}) for number in (1, 2, 3)]


@pytest.mark.parametrize("name", ["epsilon_cap", "epsilon_alone_cap"])
def test_a_cohorts_budget_holds_over_all_studies(studies: list[Study], name: str) -> None:
    alone = name == "epsilon_alone_cap"
    whole = Site({})
    for study in studies[:2]:
        whole.reserve_all(study)
    cap = whole.spent("patients", alone=alone) - 1e-4
    budget = CohortBudget(name="patients", delta=DELTA, **({"epsilon_cap": None} | {name: cap}))
    site = Site({"cohorts": budgets(budget)})

    first, second = (site.reserve_all(study) for study in studies[:2])

    # One round less than without the cap, and no other study has anything left.
    assert (first, second) == (first, first - 1)
    assert site.spent("patients", alone=alone) <= cap
    assert site.reserve_all(studies[2]) == 0
    refused = str(site.refusal(studies[2]))
    assert "of cohort patients at delta 0.0001" in refused
    assert f"its cap for all studies is {cap:g}" in refused
    assert f"would spend {name.removesuffix('_cap')} " in refused


def test_the_refusal_names_what_would_be_spent(studies: list[Study]) -> None:
    once = entry_for(studies[0]).event
    assert once
    cap = epsilon_of([once], delta=cohort_accounting_delta(DELTA))
    budget = CohortBudget(name="patients", delta=DELTA, epsilon_cap=cap)
    site = Site({"cohorts": budgets(budget)})
    site.reserve(studies[0])

    refused = site.refusal(studies[1])

    twice = epsilon_of([once, once], delta=cohort_accounting_delta(DELTA))
    assert refused.reason == RefusalReason.BUDGET_EXCEEDED
    assert str(refused).startswith(f"north would spend epsilon {twice:g} of cohort patients")


def test_a_release_is_held_against_every_cohort_that_it_is_charged_to(
    studies: list[Study],
) -> None:
    once = entry_for(studies[0]).event
    assert once
    cap = epsilon_of([once], delta=cohort_accounting_delta(DELTA))
    cardiology = CohortBudget(name="cardiology", delta=DELTA, epsilon_cap=50.0)
    hospital = CohortBudget(
        name="hospital", delta=DELTA, epsilon_cap=cap, shares_patients_with=("cardiology",)
    )
    oncology = CohortBudget(name="oncology", delta=DELTA, epsilon_cap=50.0)
    site = Site({"cohorts": budgets(cardiology, hospital, oncology)})

    site.reserve(studies[0], cohorts=("cardiology", "hospital"))

    # What was asked of the one has used up the other, and through it itself.
    for cohorts in (("hospital", "cardiology"), ("cardiology", "hospital")):
        assert "of cohort hospital" in str(site.refusal(studies[1], cohorts=cohorts))
    site.reserve(studies[1], cohorts=("oncology",))


@pytest.mark.parametrize(
    "cohorts", [("cardiology",), ("cardiology", "oncology"), ("strangers",), ("patients",)]
)
def test_a_release_is_charged_to_the_cohorts_that_the_policy_says(
    studies: list[Study], cohorts: tuple[str, ...]
) -> None:
    site = Site(
        {
            "cohorts": budgets(
                CohortBudget(name="cardiology", delta=DELTA, epsilon_cap=50.0),
                CohortBudget(
                    name="hospital",
                    delta=DELTA,
                    epsilon_cap=50.0,
                    shares_patients_with=("cardiology",),
                ),
                CohortBudget(name="oncology", delta=DELTA, epsilon_cap=50.0),
            )
        }
    )

    refused = site.refusal(studies[0], cohorts=cohorts)

    assert refused.reason == RefusalReason.BUDGET_EXCEEDED
    assert "would spend" not in str(refused)


def test_held_out_patients_of_the_one_study_may_train_another(studies: list[Study]) -> None:
    one, other = studies[:2]
    no_cap = Site({})
    no_cap.reserve_all(one)
    trained = no_cap.spent("patients")
    no_cap.reserve(other, "evaluation")
    both = no_cap.spent("patients")
    assert both > trained
    budget = CohortBudget(name="patients", delta=DELTA, epsilon_cap=both - 1e-4)

    # Whatever share either says that it holds out: nobody knows who that is.
    for holdout in (0.0, other.evaluation.holdout, 0.9):
        site = Site({"cohorts": budgets(budget)})
        site.reserve_all(one)
        site.refusal(other, "evaluation", holdout=holdout)


def test_no_patient_of_one_study_is_in_both_its_parts(studies: list[Study]) -> None:
    trained = Site({}).reserve_all(studies[0])
    budget = CohortBudget(name="patients", delta=DELTA, epsilon_cap=studies[0].privacy.epsilon)
    site = Site({"cohorts": budgets(budget)})

    # Either part spends about all of it.
    site.reserve(studies[0], "evaluation")
    assert site.reserve_all(studies[0]) == trained
    assert site.reserve_all(studies[1]) == 0


def test_sampled_releases_count_too_and_the_answer_is_that_of_the_whole_sum(
    sampled: Study, studies: list[Study]
) -> None:
    budget = CohortBudget(name="patients", delta=DELTA, epsilon_cap=3.5)
    site = Site({"cohorts": budgets(budget)})
    site.reserve_all(studies[0])
    steps = entry_for(sampled).event
    assert steps

    # Rounds of two steps each, as local training executes them.
    event = replace(steps, count=2)
    alone = GaussianEvent(noise_multiplier=steps.noise_multiplier, sampling_rate=0.5, count=2)
    done = site.reserve_all(sampled, event=event, event_alone=alone)

    charged = [entry.event for entry in site.ledger.entries() if entry.event]
    delta = cohort_accounting_delta(DELTA)
    assert done > 0
    assert epsilon_of(charged, delta=delta) <= 3.5 < epsilon_of([*charged, event], delta=delta)


def test_a_study_may_have_a_cap_of_its_own(studies: list[Study]) -> None:
    one, two, _ = studies
    everything = Site({}).reserve_all(one)
    site = Site({"epsilon_cap": 2.0, "study_caps": {two.digest: StudyCap(epsilon_cap=50.0)}})

    assert 0 < site.reserve_all(one) < everything
    assert site.reserve_all(two) == everything
    assert "its cap for this study is 2" in str(site.refusal(one))


def test_a_study_cap_of_nothing_at_all_lifts_the_usual_one(studies: list[Study]) -> None:
    site = Site({"epsilon_cap": 0.0, "study_caps": {studies[1].digest: StudyCap()}})

    assert site.reserve_all(studies[0]) == 0
    assert site.reserve_all(studies[1]) == Site({}).reserve_all(studies[1])


def test_a_cohort_that_has_released_without_noise_releases_nothing_more(
    studies: list[Study],
) -> None:
    bare = entry_for(studies[0], event=None, event_alone=None, run_id="bare")
    budget = CohortBudget(name="patients", delta=DELTA, epsilon_cap=50.0)

    capped = Site({"cohorts": budgets(budget)}, ledger=MemoryLedger([bare]))

    assert "had no noise" in str(capped.refusal(studies[1]))


def test_one_cohort_does_not_pay_for_another(studies: list[Study]) -> None:
    whole = Site({})
    everything = whole.reserve_all(studies[0])
    names = ("a", "b")
    found = budgets(
        *(
            CohortBudget(name=name, delta=DELTA, epsilon_cap=whole.spent("patients"))
            for name in names
        )
    )
    site = Site({"cohorts": found})

    assert site.reserve_all(studies[0], cohorts=("a",)) == everything
    assert site.reserve_all(studies[1], cohorts=("a",)) == 0
    assert site.reserve_all(studies[1], cohorts=("b",)) == everything
    assert site.reserve_all(studies[2], cohorts=("b",)) == 0


CLINIC = CohortBudget(name="clinic", delta=DELTA, epsilon_cap=50.0)


@pytest.mark.parametrize("name", ["epsilon_cap", "epsilon_alone_cap"])
@pytest.mark.parametrize("lower", ["the ledger's", "the policy's", "that of another delta"])
def test_a_cap_of_the_ledger_holds_beside_that_of_the_policy(
    studies: list[Study], ledger_of: LedgerOf, name: str, lower: str
) -> None:
    kept = CohortBudget(name="clinic", delta=DELTA, epsilon_cap=50.0, epsilon_alone_cap=50.0)
    cut = replace(kept, **{name: 0.01})
    declared, allowed = {
        "the ledger's": (cut, kept),
        "the policy's": (kept, cut),
        "that of another delta": (replace(cut, delta=DELTA / 10), kept),
    }[lower]
    site = Site({"cohorts": budgets(allowed)}, ledger=ledger_of(declared))

    refused = site.refusal(studies[0], cohorts=("clinic",))

    assert refused.reason == RefusalReason.BUDGET_EXCEEDED
    assert f"would spend {name.removesuffix('_cap')} " in str(refused)
    assert "its cap for all studies is 0.01" in str(refused)
    Site({"cohorts": budgets(kept)}, ledger=ledger_of(kept)).reserve(
        studies[0], cohorts=("clinic",)
    )


def test_a_ledgers_caps_need_no_policy(studies: list[Study], ledger_of: LedgerOf) -> None:
    site = Site({}, ledger=ledger_of(replace(CLINIC, epsilon_cap=0.01)))

    assert "its cap for all studies is 0.01" in str(site.refusal(studies[0], cohorts=("clinic",)))
    # It answers for those that it declares, and no other.
    refused = site.refusal(studies[0], cohorts=("patients",))
    assert "declared no budget for cohort patients" in str(refused)


@pytest.mark.parametrize("who", ["the ledger", "the policy"])
def test_a_cohort_that_one_of_them_shares_patients_with_is_charged_and_capped(
    studies: list[Study], ledger_of: LedgerOf, who: str
) -> None:
    ward = CohortBudget(
        name="ward", delta=DELTA, epsilon_cap=0.01, shares_patients_with=("clinic",)
    )
    more, less = (CLINIC, ward), (CLINIC,)
    declared, allowed = (more, less) if who == "the ledger" else (less, more)
    site = Site({"cohorts": budgets(*allowed)}, ledger=ledger_of(*declared))

    assert "of cohort ward" in str(site.refusal(studies[0], cohorts=("clinic", "ward")))
    assert "charges other cohorts" in str(
        Site({"cohorts": budgets(*allowed)}, ledger=Declaring(declared)).refusal(
            studies[0], cohorts=("clinic",)
        )
    )
    roomy = tuple(replace(budget, epsilon_cap=50.0) for budget in declared)
    allowed = tuple(replace(budget, epsilon_cap=50.0) for budget in allowed)
    site = Site({"cohorts": budgets(*allowed)}, ledger=ledger_of(*roomy))
    site.reserve(studies[0], cohorts=("clinic", "ward"))
    assert set(site.ledger.charged().of_cohort("ward")) == {
        (studies[0].digest, studies[0].evaluation.holdout)
    }
