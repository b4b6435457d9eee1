from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from fedward.client.vault.gate import Gate, Refused, SitePolicy
from fedward.client.vault.ledger import LedgerEntry, MemoryLedger
from fedward.client.vault.protection import PlannedProtection
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.definition import Study
from fedward.simulations.unprotected import Unprotected

KNOWN_SITES = frozenset(f"site-{number}" for number in range(10))

MakeStudy = Callable[..., Study]
MakeQuery = Callable[..., AnySumQuery]
DIGEST = "0" * 64


def gate_of(
    study: Study, *, ledger: MemoryLedger | None = None, policy: SitePolicy | None = None
) -> Gate:
    return Gate(
        site="site-0",
        studies={study.digest: study},
        policy=policy or SitePolicy(known_sites=KNOWN_SITES),
        ledger=MemoryLedger() if ledger is None else ledger,
        protection=PlannedProtection(),
    )


def admitted_rounds(gate: Gate, study: Study, make_query: MakeQuery, *, tries: int = 30) -> int:
    """How many training rounds get through; a refusal must be for the budget."""
    reasons: list[RefusalReason | None] = []
    while len(reasons) < tries and reasons[-1:] in ([], [None]):
        reasons.append(None)
        try:
            gate.admit(make_query(study, round=len(reasons)), query_digest=DIGEST)
        except Refused as refused:
            reasons[-1] = refused.reason
    assert reasons[-1] in {None, RefusalReason.BUDGET_EXCEEDED}
    return reasons.count(None)


def test_what_is_admitted_is_reserved_with_the_noise_it_will_get(
    study: Study, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    admitted = gate_of(study, ledger=ledger).admit(make_query(study), query_digest=DIGEST)
    plan = PlannedProtection().rules(study, "training", sites=3)

    assert ledger.entries() == (admitted.entry,)
    assert admitted.study is study
    assert admitted.rules.executed == plan.executed
    assert plan.executed is not None
    assert admitted.entry.event == GaussianEvent(noise_multiplier=plan.executed.noise_multiplier)
    assert admitted.entry.event_alone == GaussianEvent(
        noise_multiplier=plan.executed.share_multiplier
    )
    assert admitted.entry.query_digest == DIGEST


def test_the_planned_rounds_get_through_and_stay_within_epsilon(
    study: Study, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    gate = gate_of(study, ledger=ledger)
    gate.admit(make_query(study, "moments"), query_digest=DIGEST)

    assert admitted_rounds(gate, study, make_query) == study.training.rounds
    events = [entry.event for entry in ledger.entries() if entry.event]
    assert epsilon_of(events, delta=study.privacy.delta) <= study.privacy.epsilon
    once_more = epsilon_of([*events, events[-1]], delta=study.privacy.delta)
    assert once_more > study.privacy.epsilon


def test_a_sum_that_was_not_asked_for_does_not_buy_another(
    study: Study, make_query: MakeQuery
) -> None:
    # Without the scaler there is room in the budget, but what is released was fixed in advance.
    ledger = MemoryLedger()
    admitted = admitted_rounds(gate_of(study, ledger=ledger), study, make_query)

    events = [entry.event for entry in ledger.entries() if entry.event]
    assert admitted == study.training.rounds
    assert epsilon_of([*events, events[-1]], delta=study.privacy.delta) <= study.privacy.epsilon


def test_a_roster_with_a_site_that_nobody_knows_is_refused(
    study: Study, make_query: MakeQuery
) -> None:
    # Each invented site would thin out the noise of the real ones.
    invented = (*(f"site-{number}" for number in range(3)), "stranger")
    ledger = MemoryLedger()
    with pytest.raises(Refused, match="stranger") as caught:
        gate_of(study, ledger=ledger).admit(make_query(study, roster=invented), query_digest=DIGEST)
    assert caught.value.reason == RefusalReason.UNKNOWN_SITE
    assert ledger.entries() == ()


def test_a_ledger_of_other_noise_is_refused(study: Study, make_query: MakeQuery) -> None:
    # One release, and not one more than planned; but its noise was not the planned one.
    ledger = MemoryLedger()
    gate = gate_of(study, ledger=ledger)
    planned = gate.admit(make_query(study), query_digest=DIGEST).entry
    loud = replace(
        planned,
        run_id="earlier",
        event=GaussianEvent(noise_multiplier=1.2),
        event_alone=GaussianEvent(noise_multiplier=1.0),
    )

    with pytest.raises(Refused) as caught:
        gate_of(study, ledger=MemoryLedger([loud])).admit(make_query(study), query_digest=DIGEST)
    assert caught.value.reason == RefusalReason.BUDGET_EXCEEDED


def test_entries_of_another_study_are_not_charged_here(
    study: Study, make_study: MakeStudy, make_query: MakeQuery
) -> None:
    other = make_study(about={"version": 2})
    ledger = MemoryLedger()
    gate = Gate(
        site="site-0",
        studies={study.digest: study, other.digest: other},
        policy=SitePolicy(known_sites=KNOWN_SITES),
        ledger=ledger,
        protection=PlannedProtection(),
    )
    admitted_rounds(gate, study, make_query)

    gate.admit(make_query(other, run_id="other"), query_digest=DIGEST)


@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_a_site_may_cap_epsilon_below_the_studys(
    study: Study, make_query: MakeQuery, cap: float
) -> None:
    ledger = MemoryLedger()
    gate = gate_of(
        study, ledger=ledger, policy=SitePolicy(known_sites=KNOWN_SITES, epsilon_cap=cap)
    )
    admitted = admitted_rounds(gate, study, make_query)

    spent = epsilon_of(
        [entry.event for entry in ledger.entries() if entry.event], delta=study.privacy.delta
    )
    assert spent <= cap
    assert admitted < study.training.rounds
    assert (admitted == 0) == (cap == 0)


@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_a_site_may_cap_what_its_own_share_spends(
    study: Study, make_query: MakeQuery, cap: float
) -> None:
    ledger = MemoryLedger()
    gate = gate_of(
        study, ledger=ledger, policy=SitePolicy(known_sites=KNOWN_SITES, epsilon_alone_cap=cap)
    )
    admitted = admitted_rounds(gate, study, make_query)

    alone = [entry.event_alone for entry in ledger.entries() if entry.event_alone]
    assert epsilon_of(alone, delta=study.privacy.delta) <= cap
    assert admitted < study.training.rounds
    assert (admitted == 0) == (cap == 0)


def test_a_cap_above_the_studys_epsilon_changes_nothing(
    study: Study, make_query: MakeQuery
) -> None:
    generous = gate_of(study, policy=SitePolicy(known_sites=KNOWN_SITES, epsilon_cap=1000.0))
    plain = gate_of(study)
    for gate in (generous, plain):
        gate.admit(make_query(study, "moments"), query_digest=DIGEST)

    assert admitted_rounds(generous, study, make_query) == study.training.rounds
    assert admitted_rounds(plain, study, make_query) == study.training.rounds


def test_a_site_may_ask_for_more_sites_than_the_study(study: Study, make_query: MakeQuery) -> None:
    gate = gate_of(study, policy=SitePolicy(known_sites=KNOWN_SITES, minimum_sites=4))

    with pytest.raises(Refused, match="asks for 4") as caught:
        gate.admit(make_query(study), query_digest=DIGEST)
    assert caught.value.reason == RefusalReason.ROSTER_TOO_SMALL


def test_no_policy_goes_below_the_studys_minimum(study: Study, make_query: MakeQuery) -> None:
    gate = gate_of(study, policy=SitePolicy(known_sites=KNOWN_SITES, minimum_sites=1))

    with pytest.raises(Refused) as caught:
        gate.admit(make_query(study, roster=("site-0",)), query_digest=DIGEST)
    assert caught.value.reason == RefusalReason.ROSTER_TOO_SMALL


def test_a_baseline_without_privacy_is_not_charged(study: Study, make_query: MakeQuery) -> None:
    ledger = MemoryLedger()
    gate = Gate(
        site="site-0",
        studies={study.digest: study},
        policy=SitePolicy(known_sites=KNOWN_SITES),
        ledger=ledger,
        protection=Unprotected(largest_site=100),
    )

    assert admitted_rounds(gate, study, make_query, tries=10) == 10
    assert all(entry.event is entry.event_alone is None for entry in ledger.entries())


class MeetingLedger(MemoryLedger):
    """Holds whoever reads it until another thread reads too, or a moment has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = threading.Barrier(2)
        self.meets = False

    def entries(self) -> tuple[LedgerEntry, ...]:
        found = super().entries()
        if self.meets:
            with suppress(threading.BrokenBarrierError):
                self.barrier.wait(timeout=0.3)
        return found


def test_two_queries_at_once_do_not_share_the_last_of_the_budget(
    study: Study, make_query: MakeQuery
) -> None:
    ledger = MeetingLedger()
    gate = gate_of(study, ledger=ledger)
    gate.admit(make_query(study, "moments"), query_digest=DIGEST)
    for number in range(1, study.training.rounds):
        gate.admit(make_query(study, round=number), query_digest=DIGEST)
    ledger.meets = True
    admitted: list[int] = []

    def admit(number: int) -> None:
        with suppress(Refused):
            gate.admit(make_query(study, round=number), query_digest=DIGEST)
            admitted.append(number)

    threads = [threading.Thread(target=admit, args=(number,)) for number in (50, 51)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(admitted) == 1
