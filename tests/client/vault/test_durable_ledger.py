from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.client.vault.cohort_budget import CohortBudget, charged_cohorts
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import AlreadyReservedError, LedgerEntry
from fedward.client.vault.ledger_file import signed_entries
from fedward.common.errors import InputError, PrivacyRefusal
from fedward.common.ledger.entries import (
    BalanceStruck,
    BudgetRaised,
    CohortDeclared,
    Entry,
    HeadCountersigned,
    LedgerOpened,
    ReleaseAbandoned,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.cohort_spending import cohort_accounting_delta
from fedward.common.privacy.events import GaussianEvent
from fedward.common.secure_sum.signatures import SiteIdentity

OpenLedger = Callable[..., DurableLedger]
PATIENTS = CohortBudget(name="patients", delta=1e-5, epsilon_cap=2.0, epsilon_alone_cap=8.0)
COORDINATOR = SiteIdentity.generate()


def chain(path: Path) -> list[Entry]:
    return [signed.entry for signed in signed_entries(path)]


def test_what_was_reserved_and_committed_is_there_after_a_restart(
    open_ledger: OpenLedger, release: LedgerEntry
) -> None:
    noise = GaussianEvent(noise_multiplier=2 / 3, sampling_rate=0.1, count=7)
    entries = [
        replace(release, event=noise, holdout=1 / 3, delta=1e-7, study_name="Heart_2.a"),
        replace(release, round=2, kind="evaluation", event=None, event_alone=None),
        replace(release, round=3, event_alone=None),
    ]
    first = open_ledger()
    for entry in entries:
        first.reserve(entry)
    first.commit(release.place, release_digest="2" * 64)
    first.abandon(entries[1].place, reason="the vault failed")
    charged = first.charged().of_cohort("patients")
    first.close()

    second = open_ledger()
    assert second.entries() == (replace(entries[0], release_digest="2" * 64), *entries[1:])
    assert second.charged().of_cohort("patients") == charged
    assert {holdout for _, holdout in charged} == {0.2, 1 / 3}
    assert all(second.answered(entry.place) for entry in entries)
    assert not second.answered(("run", 4, 1))
    with pytest.raises(AlreadyReservedError):
        second.reserve(release)
    with pytest.raises(ValueError, match="committed or abandoned before"):
        second.commit(release.place, release_digest="3" * 64)
    with pytest.raises(ValueError, match="committed or abandoned before"):
        second.commit(entries[1].place, release_digest="3" * 64)
    second.commit(entries[2].place, release_digest="3" * 64)


def test_everything_is_one_signed_chain(
    open_ledger: OpenLedger, ledger_path: Path, federation: Any, release: LedgerEntry
) -> None:
    ledger = open_ledger(cohorts=[PATIENTS])
    reserved = ledger.reserve(release)
    ledger.commit(release.place, release_digest="2" * 64)
    ledger.reserve(replace(release, round=2))
    ledger.abandon(("run", 2, 1), reason="the vault failed")
    head = ledger.head()
    ledger.countersigned(KnownHead.seen(head, run_id="run", coordinator=COORDINATOR))
    ledger.strike_balance(release.study_digest)
    ledger.raise_budget("patients", epsilon_cap=3.0, epsilon_alone_cap=8.0, reason="a new study")

    found = signed_entries(ledger_path)
    assert [type(signed.entry) for signed in found] == [
        LedgerOpened,
        CohortDeclared,
        ReleaseReserved,
        ReleaseCommitted,
        ReleaseReserved,
        ReleaseAbandoned,
        HeadCountersigned,
        BalanceStruck,
        BudgetRaised,
    ]
    key = federation.identities["site-0"].public_key
    assert all(signed.is_signed_by(key) for signed in found)
    assert [signed.entry.sequence for signed in found] == list(range(9))
    assert [signed.entry.previous for signed in found[1:]] == [link.digest for link in found[:-1]]
    assert found[0].entry.previous == "0" * 64
    assert (reserved.sequence, reserved.digest) == (2, found[2].digest)
    assert (head.sequence, head.digest) == (5, found[5].digest)
    opened: Any = found[0].entry
    assert (opened.site, opened.identity_key) == ("site-0", key.hex())
    assert opened.ledger_id == head.ledger_id


def test_a_reservation_says_what_it_costs_by_itself(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    assert release.event is not None
    assert release.event_alone is not None
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.reserve(replace(release, round=2, event=None, event_alone=None))

    first, second = chain(ledger_path)[1:]
    assert isinstance(first, ReleaseReserved)
    assert first.epsilon == epsilon_of([release.event], delta=release.delta)
    assert first.epsilon_alone == epsilon_of([release.event_alone], delta=release.delta)
    assert isinstance(second, ReleaseReserved)
    assert (second.epsilon, second.epsilon_alone) == (None, None)


def test_a_release_at_a_delta_without_an_epsilon_is_not_reserved(
    open_ledger: OpenLedger, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    with pytest.raises(PrivacyRefusal, match="delta is 1e-12"):
        ledger.reserve(replace(release, delta=1e-12))
    assert ledger.entries() == ()


# Budgets


CARDIOLOGY = CohortBudget(name="cardiology", delta=1e-5, epsilon_cap=1.0)
HOSPITAL = CohortBudget(
    name="hospital", delta=1e-6, epsilon_cap=None, shares_patients_with=("cardiology",)
)


def test_budgets_come_from_the_chain(open_ledger: OpenLedger, ledger_path: Path) -> None:
    first = open_ledger(cohorts=[CARDIOLOGY, HOSPITAL])
    assert first.budgets() == {"cardiology": CARDIOLOGY, "hospital": HOSPITAL}
    first.close()

    lowered = replace(HOSPITAL, epsilon_cap=4.0, epsilon_alone_cap=9.0)
    second = open_ledger(cohorts=[CARDIOLOGY, lowered, PATIENTS])
    assert second.budgets()["hospital"] == lowered
    second.close()
    declared = [entry.cohort for entry in chain(ledger_path) if isinstance(entry, CohortDeclared)]
    assert declared == ["cardiology", "hospital", "hospital", "patients"]

    # Nothing new, nothing declared; and who gives no settings takes the ledger's.
    open_ledger(cohorts=[CARDIOLOGY, lowered, PATIENTS]).close()
    assert len(chain(ledger_path)) == 5
    assert set(open_ledger().budgets()) == {"cardiology", "hospital", "patients"}


@pytest.mark.parametrize(
    ("cohorts", "problem"),
    [
        ([], "cohort patients has a budget in this ledger, but is not among"),
        ([replace(PATIENTS, epsilon_cap=2.1)], "epsilon_cap 2.1, but its budget in this ledger"),
        ([replace(PATIENTS, epsilon_alone_cap=None)], "epsilon_alone_cap without a cap, but"),
        ([replace(PATIENTS, delta=1e-4)], "has delta 0.0001, but was declared with 1e-05"),
        ([PATIENTS, PATIENTS], "cohort patients is declared twice"),
        ([replace(PATIENTS, shares_patients_with=("x",))], "shares patients with the unknown x"),
    ],
    ids=["removed", "raised", "no cap", "delta", "twice", "unknown"],
)
def test_settings_that_loosen_a_budget_are_refused(
    open_ledger: OpenLedger, ledger_path: Path, cohorts: list[CohortBudget], problem: str
) -> None:
    open_ledger(cohorts=[PATIENTS]).close()

    with pytest.raises(InputError, match=problem) as caught:
        open_ledger(cohorts=cohorts)
    assert str(caught.value).startswith(f"{ledger_path}: ")
    assert len(chain(ledger_path)) == 2
    open_ledger(cohorts=[PATIENTS])


def test_an_overlap_cannot_be_taken_back(open_ledger: OpenLedger) -> None:
    open_ledger(cohorts=[CARDIOLOGY, HOSPITAL]).close()

    with pytest.raises(InputError, match="no longer shares patients with cardiology"):
        open_ledger(cohorts=[CARDIOLOGY, replace(HOSPITAL, shares_patients_with=())])


def test_an_overlap_may_move_to_the_other_cohorts_list(
    open_ledger: OpenLedger, ledger_path: Path
) -> None:
    # Sharing holds both ways, so nothing changes and nothing is declared.
    open_ledger(cohorts=[CARDIOLOGY, HOSPITAL]).close()
    before = chain(ledger_path)
    moved = [
        replace(CARDIOLOGY, shares_patients_with=("hospital",)),
        replace(HOSPITAL, shares_patients_with=()),
    ]
    open_ledger(cohorts=moved).close()
    assert chain(ledger_path) == before

    # What an entry once named, later ones of that cohort name too.
    ward = replace(PATIENTS, name="ward")
    lowered = [
        replace(moved[0], shares_patients_with=("ward", "hospital")),
        replace(moved[1], epsilon_cap=1.0),
        ward,
    ]
    open_ledger(cohorts=lowered).close()
    declared = {
        entry.cohort: entry.shares_patients_with
        for entry in chain(ledger_path)[len(before) :]
        if isinstance(entry, CohortDeclared)
    }
    assert declared == {"cardiology": ("ward",), "hospital": ("cardiology",), "ward": ()}
    ledger = open_ledger(cohorts=lowered)
    for name in ("cardiology", "hospital", "ward"):
        assert charged_cohorts(name, ledger.budgets()) == charged_cohorts(
            name, {budget.name: budget for budget in lowered}
        )


def test_a_budget_is_raised_by_an_entry_with_a_reason_alone(
    open_ledger: OpenLedger, ledger_path: Path
) -> None:
    ledger = open_ledger(cohorts=[PATIENTS])
    budget = ledger.raise_budget(
        "patients", epsilon_cap=3.0, epsilon_alone_cap=None, reason="Board of 3 May"
    )
    assert budget == replace(PATIENTS, epsilon_cap=3.0, epsilon_alone_cap=None)
    assert ledger.budgets() == {"patients": budget}
    ledger.close()

    raised = chain(ledger_path)[-1]
    assert isinstance(raised, BudgetRaised)
    assert raised.reason == "Board of 3 May"
    again = open_ledger(cohorts=[budget])
    assert again.budgets() == {"patients": budget}
    again.close()
    with pytest.raises(InputError, match=r"has epsilon_cap 3.5"):
        open_ledger(cohorts=[replace(budget, epsilon_cap=3.5)])


@pytest.mark.parametrize(
    ("cohort", "epsilon", "alone", "problem"),
    [
        ("patients", 2.0, 8.0, "has these caps already"),
        ("patients", 1.0, 9.0, "would be lowered"),
        ("patients", None, 7.0, "would be lowered"),
        ("unknown", 3.0, 9.0, "cohort unknown has no budget in this ledger"),
    ],
)
def test_a_budget_that_is_not_raised_is_refused(
    open_ledger: OpenLedger, cohort: str, epsilon: float | None, alone: float, problem: str
) -> None:
    ledger = open_ledger(cohorts=[PATIENTS])
    with pytest.raises(InputError, match=problem):
        ledger.raise_budget(cohort, epsilon_cap=epsilon, epsilon_alone_cap=alone, reason="why not")
    assert ledger.head().sequence == 1


@pytest.mark.parametrize("reason", ["", "x" * 1001])
def test_a_budget_is_not_raised_without_a_reason(open_ledger: OpenLedger, reason: str) -> None:
    ledger = open_ledger(cohorts=[PATIENTS])
    with pytest.raises(ValueError, match="reason"):
        ledger.raise_budget("patients", epsilon_cap=9.0, epsilon_alone_cap=8.0, reason=reason)
    assert ledger.budgets() == {"patients": PATIENTS}


@pytest.mark.parametrize(
    ("cohorts", "problem"),
    [
        (("patients",), "patients has no budget"),
        (("hospital",), "hospital shares its patients with cardiology"),
        (("cardiology", "patients"), "cardiology shares its patients with hospital"),
    ],
)
def test_a_release_is_charged_to_all_cohorts_that_share_its_patients(
    open_ledger: OpenLedger, release: LedgerEntry, cohorts: tuple[str, ...], problem: str
) -> None:
    ledger = open_ledger(cohorts=[CARDIOLOGY, HOSPITAL])
    with pytest.raises(ValueError, match=problem):
        ledger.reserve(replace(release, cohorts=cohorts))
    assert ledger.entries() == ()
    ledger.reserve(replace(release, cohorts=("cardiology", "hospital")))
    ledger.reserve(replace(release, round=2, cohorts=("hospital", "cardiology")))
    # A policy may know of others that share them.
    ledger.reserve(replace(release, round=3, cohorts=("hospital", "cardiology", "ward")))
    assert set(ledger.charged().of_cohort("ward")) == {(release.study_digest, release.holdout)}


def test_what_is_charged_comes_with_the_ledgers_own_budgets(
    open_ledger: OpenLedger, release: LedgerEntry
) -> None:
    ledger = open_ledger(cohorts=[replace(PATIENTS, epsilon_cap=1.0)])
    ledger.raise_budget("patients", epsilon_cap=2.0, epsilon_alone_cap=8.0, reason="a test")
    given: list[Mapping[str, CohortBudget]] = []

    ledger.reserve(release, check=lambda charged: given.append(charged.budgets()))

    raised = replace(PATIENTS, epsilon_cap=2.0)
    assert given == [{"patients": raised}]
    assert ledger.charged().budgets() == ledger.budgets() == {"patients": raised}


def test_patients_that_turn_out_to_be_shared_were_shared_all_along(
    open_ledger: OpenLedger, release: LedgerEntry
) -> None:
    alone = replace(HOSPITAL, shares_patients_with=())
    first = open_ledger(cohorts=[CARDIOLOGY, alone])
    first.reserve(replace(release, cohorts=("cardiology",)))
    assert first.charged().of_cohort("hospital") == {}
    first.close()

    second = open_ledger(cohorts=[CARDIOLOGY, HOSPITAL])
    spent = {(release.study_digest, release.holdout): {release.charge: 1}}
    assert second.charged().of_cohort("hospital") == spent
    assert second.charged().of_cohort("cardiology") == spent
    seen: list[Any] = []
    entry = replace(release, round=2, cohorts=("hospital", "cardiology"))
    second.reserve(entry, check=lambda charged: seen.append(charged.of_cohort("hospital")))
    assert seen == [spent]
    assert second.charged().of_study(release.study_digest) == {release.charge: 2}
    # What was written stays as it was.
    assert [entry.cohorts for entry in second.entries()] == [("cardiology",), entry.cohorts]


# Heads


def test_a_ledger_holds_every_head_that_it_ever_had_and_no_other(
    open_ledger: OpenLedger, federation: Any, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    heads = [ledger.head()]
    for number in range(3):
        ledger.reserve(replace(release, round=number))
        heads.append(ledger.head())
    key = federation.identities["site-0"].public_key
    assert [head.sequence for head in heads] == [0, 1, 2, 3]
    assert all(head.is_signed_by(key) for head in heads)
    assert all(ledger.holds(head) for head in heads)
    ledger.close()
    again = open_ledger()
    assert all(again.holds(head) for head in heads)

    identity = federation.identities["site-0"]
    parts = {
        "site": "site-0",
        "ledger_id": heads[2].ledger_id,
        "sequence": 2,
        "digest": heads[2].digest,
    }
    assert again.holds(LedgerHead.sign(identity, **parts))
    for change in (
        {"site": "site-1"},
        {"ledger_id": "0" * 32},
        {"sequence": 1},
        {"sequence": 4},
        {"digest": "0" * 64},
    ):
        assert not again.holds(LedgerHead.sign(identity, **(parts | change)))
    assert not again.holds(LedgerHead.sign(SiteIdentity.generate(), **parts))


def test_a_countersignature_is_noted_once(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    early = ledger.head()
    ledger.reserve(release)
    known = KnownHead.seen(ledger.head(), run_id="run", coordinator=COORDINATOR)
    for _ in range(2):
        ledger.countersigned(known)
        ledger.countersigned(KnownHead.seen(early, run_id="run-2", coordinator=COORDINATOR))
    ledger.countersigned(KnownHead.seen(ledger.head(), run_id="run", coordinator=None))

    noted = [entry for entry in chain(ledger_path) if isinstance(entry, HeadCountersigned)]
    assert len(noted) == 1
    assert noted[0].run_id == "run"
    assert (noted[0].head_sequence, noted[0].head_digest) == (1, known.head.digest)
    assert noted[0].coordinator_key == COORDINATOR.public_key.hex()
    assert noted[0].signature == known.countersignature


def test_a_countersignature_of_nothing_new_is_not_noted(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    def noted(by: SiteIdentity = COORDINATOR) -> int:
        before = ledger.head().sequence
        ledger.countersigned(KnownHead.seen(ledger.head(), run_id="run", coordinator=by))
        return ledger.head().sequence - before

    # Else each session that opens and closes would be two entries for good, charged or not.
    ledger = open_ledger(cohorts=[PATIENTS])
    assert [noted() for _ in range(3)] == [1, 0, 0]
    ledger.reserve(release)
    assert [noted() for _ in range(3)] == [1, 0, 0]
    ledger.strike_balance(release.study_digest)
    assert [noted() for _ in range(3)] == [0, 0, 0]
    ledger.close()
    ledger = open_ledger()
    assert [noted() for _ in range(3)] == [0, 0, 0]
    ledger.commit(release.place, release_digest="2" * 64)
    assert [noted() for _ in range(3)] == [1, 0, 0]
    other = SiteIdentity.generate()
    assert [noted(other), noted(other), noted()] == [1, 0, 0]


def test_a_balance_is_struck_once_for_what_was_charged(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    other = replace(release, round=5, study_digest="9" * 64)

    def struck(entry: LedgerEntry = release) -> list[str]:
        before = len(chain(ledger_path))
        ledger.strike_balance(entry.study_digest)
        return [entry.cohort for entry in chain(ledger_path)[before:]]  # type: ignore[union-attr]

    ledger = open_ledger(cohorts=[CARDIOLOGY, HOSPITAL, PATIENTS])
    ledger.reserve(release)
    assert [struck(), struck(), struck()] == [["patients"], [], []]
    # Of the cohort's epsilon, another study is news too.
    ledger.reserve(other)
    assert [struck(other), struck(), struck(other), struck()] == [
        ["patients"],
        ["patients"],
        [],
        [],
    ]
    ledger.reserve(replace(release, round=2, cohorts=("cardiology", "hospital")))
    assert [struck(), struck(other), struck()] == [["cardiology", "hospital"], [], []]
    ledger.close()
    ledger = open_ledger()
    assert [struck(), struck(other)] == [[], []]
    ledger.reserve(replace(release, round=3))
    assert [struck(), struck()] == [["patients"], []]


def test_a_false_countersignature_is_not_noted(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    known = KnownHead.seen(ledger.head(), run_id="run", coordinator=COORDINATOR)
    false = known.model_copy(update={"run_id": "another"})
    stranger = LedgerHead.sign(
        SiteIdentity.generate(),
        site="site-0",
        ledger_id=known.head.ledger_id,
        sequence=0,
        digest=known.head.digest,
    )
    with pytest.raises(ValueError, match="does not verify"):
        ledger.countersigned(false)
    with pytest.raises(ValueError, match="no head of this ledger"):
        ledger.countersigned(KnownHead.seen(stranger, run_id="run", coordinator=COORDINATOR))
    assert ledger.head() == known.head


# The clock


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=6))
def test_time_in_a_ledger_never_goes_back(
    tmp_path_factory: pytest.TempPathFactory,
    open_ledger: OpenLedger,
    release: LedgerEntry,
    shown: list[int],
) -> None:
    path = tmp_path_factory.mktemp("clock") / "ledger.sqlite"
    times = iter([shown[0], *shown])
    ledger = open_ledger(path, clock=lambda: datetime.fromtimestamp(next(times), UTC))
    for number in range(len(shown)):
        ledger.reserve(replace(release, round=number))
    ledger.close()

    latest = 0
    for entry, clock in zip(chain(path), [shown[0], *shown], strict=True):
        latest = max(latest, clock)
        written = datetime.fromisoformat(entry.time)
        assert written == datetime.fromtimestamp(latest, UTC)
        assert entry.behind == latest - clock
    open_ledger(path).close()


# Balances


def test_a_balance_is_what_the_accountant_says_of_all_entries(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger(cohorts=[CARDIOLOGY, HOSPITAL])
    both = ("cardiology", "hospital")
    sums = [
        replace(release, cohorts=both),
        replace(release, cohorts=both, round=2),
        replace(release, cohorts=both, round=3, kind="evaluation"),
        replace(release, cohorts=(both[1], both[0]), round=4, study_digest="9" * 64, holdout=0.0),
    ]
    for entry in sums:
        ledger.reserve(entry)
    ledger.strike_balance(release.study_digest)
    ledger.strike_balance("8" * 64)

    def events(name: str, count: int) -> list[GaussianEvent]:
        return [replace(getattr(release, name), count=count)]

    balances = [entry for entry in chain(ledger_path) if isinstance(entry, BalanceStruck)]
    assert [entry.cohort for entry in balances] == ["cardiology", "hospital"]
    for entry, delta in zip(balances, (1e-5, 1e-6), strict=True):
        # A patient is in the training or in the held-out part of the first study.
        ideal = cohort_accounting_delta(delta)
        assert entry.epsilon == epsilon_of(events("event", 2), delta=1e-5)
        assert entry.epsilon_alone == epsilon_of(events("event_alone", 2), delta=1e-5)
        assert entry.cohort_epsilon == epsilon_of(events("event", 3), delta=ideal)
        assert entry.cohort_epsilon_alone == epsilon_of(events("event_alone", 3), delta=ideal)


def test_there_is_no_balance_without_a_budget_or_without_noise(
    open_ledger: OpenLedger, tmp_path: Path, release: LedgerEntry
) -> None:
    without_budget = open_ledger(tmp_path / "one.sqlite")
    without_budget.reserve(release)
    without_noise = open_ledger(tmp_path / "two.sqlite", cohorts=[PATIENTS])
    without_noise.reserve(replace(release, event=None, event_alone=None))
    for ledger in (without_budget, without_noise):
        head = ledger.head()
        ledger.strike_balance(release.study_digest)
        assert ledger.head() == head
