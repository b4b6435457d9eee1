"""Epsilons and budgets that a ledger claims are computed again, and caps hold at every moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.common.ledger.entries import BalanceStruck, BudgetRaised, ChargedEvent
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.cohort_spending import StudyCharges, worst_patient_epsilon
from fedward.common.privacy.events import GaussianEvent

Audited = Callable[..., Any]
MakeLedger = Callable[..., Any]


@pytest.mark.parametrize("field", ["epsilon", "epsilon_alone"])
@pytest.mark.parametrize("factor", [0.99, 1.01, 0.0])
def test_a_wrong_epsilon_of_a_release_is_found(
    make_ledger: MakeLedger, audited: Audited, field: str, factor: float
) -> None:
    ledger = make_ledger()
    right = ledger.drafts[2][1][field]
    wrong = ledger.release(7, **{field: right * factor})

    outcome = audited(ledger)

    assert outcome.failed == {"release_epsilons"}
    (finding,) = outcome.errors("release_epsilons")
    assert finding.where.endswith(f"(entry {wrong}): {field}")


def balance(**changes: float) -> dict[str, Any]:
    """Of three releases with noise 8 and 4."""
    events = {noise: GaussianEvent(noise_multiplier=noise, count=3) for noise in (8.0, 4.0)}
    worst = {
        noise: worst_patient_epsilon(
            [StudyCharges(study_digest="5" * 64, holdout=0.2, training=(event,))], delta=1e-5
        )
        for noise, event in events.items()
    }
    fields: dict[str, Any] = {
        "cohort": "patients",
        "study_digest": "5" * 64,
        "epsilon": epsilon_of([events[8.0]], delta=1e-5),
        "epsilon_alone": epsilon_of([events[4.0]], delta=1e-5),
        "cohort_epsilon": worst[8.0],
        "cohort_epsilon_alone": worst[4.0],
    }
    return fields | changes


def test_a_right_balance_passes(make_ledger: MakeLedger, audited: Audited) -> None:
    ledger = make_ledger()
    ledger.add(BalanceStruck, **balance())

    outcome = audited(ledger)

    assert outcome.check("balances").passed is True
    assert outcome.failed == set()


@pytest.mark.parametrize(
    "field", ["epsilon", "epsilon_alone", "cohort_epsilon", "cohort_epsilon_alone"]
)
def test_a_wrong_balance_is_found(make_ledger: MakeLedger, audited: Audited, field: str) -> None:
    ledger = make_ledger()
    ledger.add(BalanceStruck, **balance(**{field: balance()[field] * 0.98}))

    outcome = audited(ledger)

    assert outcome.failed == {"balances"}
    assert outcome.errors("balances")[0].where.endswith(field)


def with_caps(make_ledger: MakeLedger, *, cap: float | None, alone: float | None = None) -> Any:
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare(epsilon_cap=cap, epsilon_alone_cap=alone)
    return ledger


@pytest.mark.parametrize("alone", [False, True])
def test_the_first_release_above_a_cap_is_located(
    make_ledger: MakeLedger, audited: Audited, alone: bool
) -> None:
    noise = 4.0 if alone else 8.0
    cap = epsilon_of([GaussianEvent(noise_multiplier=noise, count=5)], delta=1e-5)
    ledger = with_caps(make_ledger, cap=None if alone else cap, alone=cap if alone else None)
    numbers = [ledger.release(number) for number in range(5)]
    assert audited(ledger).failed == set()

    numbers += [ledger.release(number) for number in range(5, 9)]
    outcome = audited(ledger)

    assert outcome.failed == {"caps"}
    (finding,) = outcome.errors("caps")
    assert finding.where.endswith(f"(entry {numbers[5]})")


def test_a_budget_that_a_signed_entry_raised_in_time_is_honoured(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    cap = epsilon_of([GaussianEvent(noise_multiplier=8.0, count=5)], delta=1e-5)
    raised = {
        "cohort": "patients",
        "epsilon_cap": 2 * cap,
        "epsilon_alone_cap": None,
        "reason": "the board agreed",
    }
    in_time = with_caps(make_ledger, cap=cap)
    for number in range(8):
        if number == 5:
            in_time.add(BudgetRaised, **raised)
        in_time.release(number)
    assert audited(in_time).failed == set()

    too_late = with_caps(make_ledger, cap=cap)
    for number in range(8):
        if number == 6:
            too_late.add(BudgetRaised, **raised)
        too_late.release(number)
    assert audited(too_late).failed == {"caps"}


def test_a_budget_is_not_raised_by_declaring_it_again(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    ledger.declare(epsilon_cap=10.0)

    outcome = audited(ledger)

    assert outcome.failed == {"budgets"}
    assert (
        "raises the epsilon_cap of patients from 3 to 10" in outcome.errors("budgets")[0].sentence
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epsilon_cap": 3.0}, "raises no cap"),
        ({"epsilon_cap": 2.0}, "lowers the epsilon_cap"),
        ({"epsilon_cap": 5.0, "epsilon_alone_cap": 5.0}, "lowers the epsilon_alone_cap"),
        ({"cohort": "unknown"}, "not declared"),
    ],
)
def test_a_raise_that_is_none_is_found(
    make_ledger: MakeLedger, audited: Audited, changes: dict[str, Any], told: str
) -> None:
    ledger = make_ledger()
    fields = {
        "cohort": "patients",
        "epsilon_cap": 5.0,
        "epsilon_alone_cap": None,
        "reason": "because",
    }
    ledger.add(BudgetRaised, **(fields | changes))

    outcome = audited(ledger)

    assert outcome.failed == {"budgets"}
    assert any(told in finding.sentence for finding in outcome.errors("budgets"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"delta": 1e-4}, "changes the delta"),
        ({"shares_patients_with": ("patients",)}, "with itself"),
    ],
)
def test_a_declaration_that_changes_what_it_may_not_is_found(
    make_ledger: MakeLedger, audited: Audited, changes: dict[str, Any], told: str
) -> None:
    ledger = make_ledger()
    ledger.declare(**changes)

    outcome = audited(ledger)

    assert outcome.failed == {"budgets"}
    assert any(told in finding.sentence for finding in outcome.errors("budgets"))


def overlapping(make_ledger: MakeLedger, *, ward_cap: float) -> Any:
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare("hospital", epsilon_cap=3.0)
    ledger.declare("ward", epsilon_cap=ward_cap, shares_patients_with=("hospital",))
    return ledger


def test_cohorts_that_share_patients_are_all_charged(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = overlapping(make_ledger, ward_cap=3.0)
    ledger.release(0, cohorts=("hospital", "ward"))
    ledger.release(1, cohorts=("ward", "hospital"))
    assert audited(ledger).failed == set()

    ledger.release(2, cohorts=("hospital",))
    outcome = audited(ledger)

    assert outcome.failed == {"budgets"}
    assert "demand hospital, ward" in outcome.errors("budgets")[0].sentence


def test_what_was_not_charged_to_a_cohort_that_shares_patients_counts_against_its_cap(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    cap = epsilon_of([GaussianEvent(noise_multiplier=8.0, count=2)], delta=1e-5)
    ledger = overlapping(make_ledger, ward_cap=cap)
    ledger.release(0, cohorts=("ward", "hospital"))
    for number in (1, 2):
        ledger.release(number, cohorts=("hospital",))

    assert audited(ledger).failed == {"budgets", "caps"}


def test_an_overlap_that_is_declared_later_counts_for_releases_before_it(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    cap = epsilon_of([GaussianEvent(noise_multiplier=8.0, count=2)], delta=1e-5)
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare("hospital")
    ledger.declare("ward", epsilon_cap=cap)
    for number in range(2):
        ledger.release(number, cohorts=("hospital",))
    ledger.declare("ward", epsilon_cap=cap, shares_patients_with=("hospital",))
    assert audited(ledger).failed == set()
    ledger.release(2, cohorts=("ward", "hospital"))

    assert audited(ledger).failed == {"caps"}


def test_patients_of_two_studies_are_charged_for_the_worst_way_to_be_divided(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    """Held out in the one, trained on in the other: parts do not add up where they are disjoint."""
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare(epsilon_cap=50.0)
    for number, (study, holdout, kind) in enumerate(
        [("a", 0.2, "training"), ("a", 0.2, "evaluation"), ("b", 0.5, "evaluation")]
    ):
        ledger.release(number, study_digest=study * 64, holdout=holdout, sum=kind)

    (spent,) = audited(ledger).audit.ledgers[0].cohorts

    # Who is held out of both, or trained on in a and held out of b: two releases, never three.
    two = epsilon_of([GaussianEvent(noise_multiplier=8.0, count=2)], delta=1e-5)
    assert spent.epsilon.epsilon == pytest.approx(two, abs=2e-4)
    assert spent.epsilon.prv_low <= two <= spent.epsilon.prv_high
    assert spent.epsilon.rdp >= two


def test_an_epsilon_alone_above_50_is_told_as_an_upper_bound(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare(epsilon_cap=None)
    event = GaussianEvent(noise_multiplier=0.1)
    ledger.release(0, noise=0.2, epsilon_alone=epsilon_of([event], delta=1e-5))

    outcome = audited(ledger)

    assert outcome.failed == set()
    (spent,) = outcome.audit.ledgers[0].studies
    assert spent.epsilon_alone.epsilon > 50
    assert spent.epsilon_alone.prv_low is None
    assert spent.epsilon_alone.rdp >= spent.epsilon_alone.epsilon
    assert "above 50" in spent.epsilon_alone.note


@pytest.mark.parametrize(("noise", "rate"), [(3e4, 1e-3), (1e9, 0.5), (1.0, 1e-9), (1e-3, 0.5)])
def test_an_event_of_a_thousand_million_sums_has_a_bound_soon(
    make_ledger: MakeLedger, audited: Audited, noise: float, rate: float
) -> None:
    """PLD would never end; what was claimed is found to be wrong all the same."""
    event = ChargedEvent(noise_multiplier=noise, sampling_rate=rate, count=10**9)
    ledger = make_ledger(1)
    ledger.release(7, event=event, event_alone=event, epsilon=49.0, epsilon_alone=49.0)

    assert "release_epsilons" in audited(ledger).failed


def test_more_different_events_than_can_be_recomputed_are_said(
    make_ledger: MakeLedger, audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedward.audits.books.ledger_audit.MOST_DIFFERENT_EVENTS", 2)
    ledger = make_ledger(1)
    for number in range(7, 10):
        event = ChargedEvent(noise_multiplier=50.0 + number, sampling_rate=0.5, count=1)
        ledger.release(number, event=event, event_alone=event)

    outcome = audited(ledger)

    assert outcome.failed == {"accountants"}
    assert "3 different events" in outcome.errors("accountants")[0].sentence
    assert outcome.check("release_epsilons").passed is None
