from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fedward.client.vault import allowance
from fedward.client.vault.charges import Charged
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.gate import Gate
from fedward.client.vault.ledger import CheckCharges, Ledger, LedgerEntry, MemoryLedger
from fedward.client.vault.policy import Refused
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.client.vault.session_desk import JoinedSession, SessionDesk
from fedward.client.vault.spending import ALLOWANCE
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import plan_for
from fedward.common.protocol.queries import AnySumQuery, OpenSessionQuery, SumQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.roster import Roster, SignedRoster
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeQuery = Callable[..., AnySumQuery]
MakeGate = Callable[..., Gate]
DIGEST = "0" * 64


@dataclass(frozen=True)
class NoMasks:
    """Stands where a gate's test needs no mask."""

    def hide(self, masked: object, elements: object) -> bool:
        return False


class KnownSessions(SessionDesk):
    """Every session is open among the same sites, without a key."""

    def __init__(self, names: tuple[str, ...]) -> None:
        keys = {
            name: bytes([number % 256, number // 256] * 16) for number, name in enumerate(names)
        }
        self.session = JoinedSession(
            roster=Roster.of(keys, federation="tests"),
            participants=tuple(sorted(names)),
            masks=NoMasks(),
        )

    def joined(self, query: SumQuery) -> JoinedSession:
        return self.session


@pytest.fixture(scope="session")
def make_gate(federation: Any) -> MakeGate:
    """The gate of ``site-0`` among ``names``; ``policy`` holds what differs from the plain one."""

    def make(
        *studies: Study,
        ledger: Ledger | None = None,
        policy: dict[str, Any] | None = None,
        protection: Protection | None = None,
        names: tuple[str, ...] = tuple(f"site-{number}" for number in range(10)),
        sessions: SessionDesk | None = None,
        **more: Any,
    ) -> Gate:
        return Gate(
            site="site-0",
            identity_key=federation.keys["site-0"],
            studies={study.digest: study for study in studies},
            policy=federation.policy(**(policy or {})),
            ledger=MemoryLedger() if ledger is None else ledger,
            protection=protection or PlannedProtection(),
            sessions=sessions or KnownSessions(names),
            **more,
        )

    return make


@pytest.fixture(scope="session")
def poisson_study(make_study: MakeStudy) -> Study:
    """Sampled batches, so that every kind of sum has its own number."""
    return make_study(
        training={
            "method": "distributed",
            "rounds": 4,
            "learning_rate": 1.0,
            "batch": "poisson",
            "sampling_rate": 0.5,
        }
    )


@pytest.fixture(scope="session")
def evaluated_study(make_study: MakeStudy) -> Study:
    """Everything that a study may ask for, once more than needed."""
    return make_study(
        statistics={},
        evaluation={"per_site": True},
        privacy={"spare_attempts": 1},
    )


def admitted_rounds(gate: Gate, study: Study, make_query: MakeQuery, *, tries: int = 30) -> int:
    """How many training sums get through, round after round and then again as second attempts."""
    for done in range(tries):
        attempt, number = divmod(done, study.training.rounds)
        query = make_query(study, round=number + 1, attempt=attempt + 1)
        try:
            gate.admit(query, query_digest=DIGEST)
        except Refused as no:
            return done if no.reason == RefusalReason.BUDGET_EXCEEDED else -1
    return tries


def refused(gate: Gate, query: AnySumQuery) -> RefusalReason:
    with pytest.raises(Refused) as caught:
        gate.admit(query, query_digest=DIGEST)
    return caught.value.reason


def test_what_is_admitted_is_reserved_with_the_noise_it_will_get(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    admitted = make_gate(study, ledger=ledger).admit(make_query(study), query_digest=DIGEST)
    rules = PlannedProtection().rules(study, "training", sites=3, colluding=0)

    assert ledger.entries() == (admitted.entry,)
    assert admitted.study is study
    assert admitted.rules.executed == rules.executed
    assert rules.executed is not None
    assert admitted.entry.event == GaussianEvent(noise_multiplier=rules.executed.noise_multiplier)
    assert admitted.entry.event_alone == GaussianEvent(
        noise_multiplier=rules.executed.share_multiplier
    )
    assert admitted.entry.query_digest == DIGEST


def test_an_entry_says_what_a_budget_and_an_audit_need(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    budgets = {
        "beds": CohortBudget(
            name="beds", delta=1e-5, epsilon_cap=9.0, shares_patients_with=("clinic",)
        ),
        "clinic": CohortBudget(name="clinic", delta=1e-5, epsilon_cap=9.0),
        "attic": CohortBudget(
            name="attic", delta=1e-5, epsilon_cap=9.0, shares_patients_with=("beds",)
        ),
        "other": CohortBudget(name="other", delta=1e-5, epsilon_cap=9.0),
    }
    gate = make_gate(study, policy={"cohorts": budgets}, cohort_name="beds")
    admitted = gate.admit(make_query(study), query_digest=DIGEST)
    plain = make_gate(study).admit(make_query(study), query_digest=DIGEST)

    entry = admitted.entry
    assert (entry.study_name, entry.sites) == (study.about.name, 3)
    assert (entry.delta, entry.holdout) == (study.privacy.delta, study.evaluation.holdout)
    assert entry.cohorts == ("beds", "attic", "clinic")
    assert plain.entry.cohorts == ("patients",)
    # A ledger in memory has no chain in which it could stand.
    assert admitted.head is None


def test_a_cohort_without_a_budget_is_refused_where_others_have_one(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    budgets = {"beds": CohortBudget(name="beds", delta=1e-5, epsilon_cap=9.0)}
    gate = make_gate(study, ledger=ledger, policy={"cohorts": budgets}, cohort_name="clinic")

    assert refused(gate, make_query(study)) == RefusalReason.BUDGET_EXCEEDED
    assert ledger.entries() == ()


def test_the_planned_rounds_get_through_and_stay_within_epsilon(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger)
    gate.admit(make_query(study, "moments"), query_digest=DIGEST)

    assert admitted_rounds(gate, study, make_query) == study.training.rounds
    events = [entry.event for entry in ledger.entries() if entry.event]
    assert epsilon_of(events, delta=study.privacy.delta) <= study.privacy.epsilon
    once_more = epsilon_of([*events, events[-1]], delta=study.privacy.delta)
    assert once_more > study.privacy.epsilon


def test_a_sum_over_sampled_patients_cannot_be_bought_by_another(
    poisson_study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    # Without the scaler there is room in the budget, but what is released was fixed in advance.
    ledger = MemoryLedger()
    admitted = admitted_rounds(make_gate(poisson_study, ledger=ledger), poisson_study, make_query)

    assert admitted == poisson_study.training.rounds
    events = [entry.event for entry in ledger.entries() if entry.event]
    delta = poisson_study.privacy.delta
    assert epsilon_of([*events, events[-1]], delta=delta) <= poisson_study.privacy.epsilon


def test_a_lost_scaler_over_everybody_is_paid_for_by_later_rounds(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger)
    for attempt in (1, 2):
        gate.admit(make_query(study, "moments", attempt=attempt), query_digest=DIGEST)

    assert 0 < admitted_rounds(gate, study, make_query) < study.training.rounds
    events = [entry.event for entry in ledger.entries() if entry.event]
    assert epsilon_of(events, delta=study.privacy.delta) <= study.privacy.epsilon


def test_a_lost_scaler_cannot_be_asked_for_again_where_patients_are_sampled(
    poisson_study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    gate = make_gate(poisson_study)
    gate.admit(make_query(poisson_study, "moments"), query_digest=DIGEST)
    again = make_query(poisson_study, "moments", attempt=2)

    assert refused(gate, again) == RefusalReason.BUDGET_EXCEEDED


def test_held_out_patients_have_a_budget_of_their_own(
    evaluated_study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    study, ledger = evaluated_study, MemoryLedger()
    gate = make_gate(study, ledger=ledger, policy={"allow_site_evaluation": True})
    kinds = ("moments", "counts", "evaluation", "site_evaluation")
    for attempt in (1, 2):
        for kind in kinds:
            gate.admit(make_query(study, kind, attempt=attempt), query_digest=DIGEST)
    assert admitted_rounds(gate, study, make_query) == study.training.rounds + 1

    for kind in kinds:
        again = make_query(study, kind, attempt=3)
        assert refused(gate, again) == RefusalReason.BUDGET_EXCEEDED
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    spent = [e.event for e in ledger.entries() if e.event and e.kind.endswith("evaluation")]
    assert epsilon_of(spent, delta=plan.accounting_delta) == plan.held_out_epsilon


def test_the_entry_of_every_kind_names_it(
    evaluated_study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    study, ledger = evaluated_study, MemoryLedger()
    gate = make_gate(study, ledger=ledger, policy={"allow_site_evaluation": True})
    for kind in ("moments", "gradient_sum", "counts", "evaluation", "site_evaluation"):
        gate.admit(make_query(study, kind), query_digest=DIGEST)

    found = {entry.kind: entry for entry in ledger.entries()}
    assert list(found) == ["moments", "training", "counts", "evaluation", "site_evaluation"]
    alone = {kind: entry.event == entry.event_alone for kind, entry in found.items()}
    # A site's own evaluation holds all of its noise; of the other sums it adds a share.
    assert [kind for kind, equal in alone.items() if equal] == ["site_evaluation"]


ROUNDS: dict[str, tuple[str, int]] = {
    "moments in the first training round": ("moments", 1),
    "training in the scaler's round": ("gradient_sum", 0),
    "training after the last round": ("gradient_sum", 5),
    "an evaluation in a training round": ("evaluation", 2),
    "an evaluation in the sites' round": ("evaluation", 6),
    "a site's evaluation in the groups' round": ("site_evaluation", 5),
    "counts in the scaler's round": ("counts", 0),
    "counts in the sites' round": ("counts", 6),
}


@pytest.mark.parametrize(("kind", "number"), ROUNDS.values(), ids=ROUNDS)
def test_a_sum_in_another_kinds_round_is_refused(
    evaluated_study: Study, make_gate: MakeGate, make_query: MakeQuery, kind: str, number: int
) -> None:
    gate = make_gate(evaluated_study, policy={"allow_site_evaluation": True})
    query = make_query(evaluated_study, kind, round=number)

    assert refused(gate, query) == RefusalReason.NOT_IN_STUDY


@pytest.mark.parametrize("kind", ["counts", "site_evaluation", "local_update"])
def test_a_sum_that_the_study_does_not_plan_is_refused(
    study: Study, make_gate: MakeGate, make_query: MakeQuery, kind: str
) -> None:
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger, policy={"allow_site_evaluation": True})

    assert refused(gate, make_query(study, kind)) == RefusalReason.NOT_IN_STUDY
    assert ledger.entries() == ()


def test_a_study_without_an_evaluation_has_none(
    make_study: MakeStudy, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    study = make_study(evaluation={"release": False})

    assert refused(make_gate(study), make_query(study, "evaluation")) == RefusalReason.NOT_IN_STUDY


def test_a_site_may_forbid_its_own_evaluation(
    evaluated_study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    query = make_query(evaluated_study, "site_evaluation")

    assert refused(make_gate(evaluated_study), query) == RefusalReason.NOT_ALLOWED
    allowed = make_gate(evaluated_study, policy={"allow_site_evaluation": True})
    assert allowed.admit(query, query_digest=DIGEST).entry.kind == "site_evaluation"


GROUPS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "its own group": ("north", ("site-0", "site-1"), True),
    "a group it is not in": ("south", ("site-0", "site-2"), False),
    "a roster beyond its group": ("north", ("site-0", "site-1", "site-2"), False),
    "no group at all": ("west", ("site-0", "site-1"), False),
    "everyone, where there are groups": ("all", ("site-0", "site-1"), False),
    "the rest": ("others", ("site-0", "site-4"), False),
}


@pytest.mark.parametrize(("group", "roster", "admitted"), GROUPS.values(), ids=GROUPS)
def test_an_evaluation_is_of_one_group_that_the_study_names(
    make_study: MakeStudy,
    make_gate: MakeGate,
    make_query: MakeQuery,
    group: str,
    roster: tuple[str, ...],
    admitted: bool,
) -> None:
    groups = {"north": ("site-0", "site-1"), "south": ("site-2", "site-3")}
    study = make_study(evaluation={"groups": groups})
    gate, query = make_gate(study), make_query(study, "evaluation", group=group, roster=roster)

    if admitted:
        assert gate.admit(query, query_digest=DIGEST).entry.kind == "evaluation"
    else:
        assert refused(gate, query) == RefusalReason.NOT_IN_STUDY


def test_the_sites_that_no_group_names_are_a_group(
    make_study: MakeStudy, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    study = make_study(evaluation={"groups": {"south": ("site-2", "site-3")}})
    roster = ("site-0", "site-9")

    make_gate(study).admit(
        make_query(study, "evaluation", group="others", roster=roster), query_digest=DIGEST
    )
    # A group of one site would be that site's own evaluation, by another name.
    few = make_gate(study, names=("site-0", "site-2", "site-3"))
    query = make_query(study, "evaluation", group="south", roster=("site-0", "site-2"))
    assert refused(few, query) == RefusalReason.NOT_IN_STUDY


def test_a_roster_with_a_site_that_is_not_in_the_session_is_refused(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    # Each invented site would thin out the noise of the real ones.
    invented = (*(f"site-{number}" for number in range(3)), "stranger")
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger)

    with pytest.raises(Refused, match="stranger") as caught:
        gate.admit(make_query(study, roster=invented), query_digest=DIGEST)
    assert caught.value.reason == RefusalReason.UNKNOWN_SITE
    assert ledger.entries() == ()


def test_a_roster_without_the_site_itself_is_refused(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    query = make_query(study, roster=("site-1", "site-2"))

    assert refused(make_gate(study), query) == RefusalReason.NOT_IN_ROSTER


def test_a_ledger_of_other_noise_is_refused(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    # One release, and not one more than planned; but its noise was not the planned one.
    planned = make_gate(study).admit(make_query(study), query_digest=DIGEST).entry
    loud = replace(
        planned,
        run_id="earlier",
        event=GaussianEvent(noise_multiplier=1.2),
        event_alone=GaussianEvent(noise_multiplier=1.0),
    )
    unplanned = replace(planned, run_id="earlier", kind="counts")
    free = replace(planned, run_id="earlier", event=None, event_alone=None)

    for entry in (loud, unplanned, free):
        gate = make_gate(study, ledger=MemoryLedger([entry]))
        assert refused(gate, make_query(study)) == RefusalReason.BUDGET_EXCEEDED


def test_sums_over_rosters_of_any_size_spend_one_budget(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger)
    gate.admit(make_query(study, "moments"), query_digest=DIGEST)
    for number in range(1, study.training.rounds + 1):
        roster = tuple(f"site-{site}" for site in range(number + 1))
        gate.admit(make_query(study, round=number, roster=roster), query_digest=DIGEST)

    again = make_query(study, round=1, attempt=2)
    assert refused(gate, again) == RefusalReason.BUDGET_EXCEEDED
    training = ledger.entries()[1:]
    assert len({entry.event for entry in training}) == 1
    # The fewer sites, the more noise of each.
    shares = [entry.event_alone.noise_multiplier for entry in training if entry.event_alone]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == len(shares)


def test_entries_of_another_study_are_not_charged_here(
    study: Study, make_study: MakeStudy, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    other = make_study(about={"version": 2})
    gate = make_gate(study, other)
    admitted_rounds(gate, study, make_query)

    gate.admit(make_query(other, run_id="other"), query_digest=DIGEST)


@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("name", ["epsilon_cap", "epsilon_alone_cap"])
def test_a_site_may_cap_either_epsilon_below_the_studys(
    study: Study, make_gate: MakeGate, make_query: MakeQuery, name: str, cap: float
) -> None:
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger, policy={name: cap})
    admitted = admitted_rounds(gate, study, make_query)

    spent = [e.event if name == "epsilon_cap" else e.event_alone for e in ledger.entries()]
    charged = [event for event in spent if event]
    assert epsilon_of(charged, delta=study.privacy.delta) <= cap
    assert admitted < study.training.rounds
    assert (admitted == 0) == (cap == 0)
    if charged:
        assert epsilon_of([*charged, charged[0]], delta=study.privacy.delta) > cap


@pytest.mark.parametrize("name", ["epsilon_cap", "epsilon_alone_cap"])
def test_a_cap_holds_for_each_part_of_the_patients_by_itself(
    evaluated_study: Study, make_gate: MakeGate, make_query: MakeQuery, name: str
) -> None:
    study = evaluated_study
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    once = plan.evaluation and (
        plan.evaluation.event() if name == "epsilon_cap" else plan.evaluation.event_alone()
    )
    assert once
    # Room for one evaluation, and for some training.
    cap = epsilon_of([once], delta=plan.accounting_delta)
    gate = make_gate(study, policy={name: cap})

    first = admitted_rounds(gate, study, make_query)
    assert first > 0
    gate.admit(make_query(study, "evaluation"), query_digest=DIGEST)
    again = make_query(study, "evaluation", attempt=2)
    assert refused(gate, again) == RefusalReason.BUDGET_EXCEEDED
    other = make_gate(study, policy={name: cap})
    other.admit(make_query(study, "evaluation"), query_digest=DIGEST)
    assert admitted_rounds(other, study, make_query) == first


class OpenSessions(KnownSessions):
    """Opens whatever is asked for, without a key."""

    def checked(self, signed: SignedRoster, *, minimum_sites: int) -> Roster:
        return signed.roster

    def open(self, query: OpenSessionQuery, *, minimum_sites: int) -> Any:
        return None


@pytest.mark.parametrize("share", [1.0, 0.9])
@pytest.mark.parametrize("capped", ["the study", "the cohort", "the ledger"])
def test_opening_a_session_looks_ahead_so_that_no_round_has_to(
    poisson_study: Study,
    make_gate: MakeGate,
    make_query: MakeQuery,
    federation: Any,
    open_ledger: Callable[..., DurableLedger],
    monkeypatch: pytest.MonkeyPatch,
    capped: str,
    share: float,
) -> None:
    def computed() -> int:
        # Whoever wants to know an epsilon of a cap asks for a rough bound first.
        found = allowance._rough_epsilon.cache_info()
        return found.hits + found.misses

    monkeypatch.setattr(ALLOWANCE, "_bounds", {})
    study = poisson_study
    cap = share * study.privacy.epsilon
    cohort = CohortBudget(name="patients", delta=study.privacy.delta, epsilon_cap=cap)
    ledger = open_ledger(cohorts=[cohort] if capped == "the ledger" else None)
    policy: dict[str, Any] = {
        "the study": {"epsilon_cap": cap},
        "the cohort": {"cohorts": {"patients": cohort}},
        "the ledger": {},
    }[capped]
    names = tuple(federation.signed.roster.names)
    gate = make_gate(study, ledger=ledger, policy=policy, sessions=OpenSessions(names))
    before = computed()

    gate.open_session(federation.query_for_session(study))

    looked = computed()
    assert looked > before
    assert ledger.entries() == ()
    gate.admit(make_query(study, "moments", roster=names), query_digest=DIGEST)
    admitted = admitted_rounds(gate, study, make_query, tries=4)
    # A sum that the cap forbids is composed anew; so what it would spend is told exactly.
    assert (admitted, computed() > looked) == ((4, False) if share == 1 else (3, True))


def test_opening_a_session_refuses_for_no_cap(
    study: Study, make_gate: MakeGate, make_query: MakeQuery, federation: Any
) -> None:
    bare = LedgerEntry(
        run_id="bare",
        study_digest=DIGEST,
        study_name="bare",
        query_digest=DIGEST,
        kind="training",
        round=1,
        attempt=1,
        sites=3,
        delta=1e-4,
        holdout=0.2,
        cohorts=("patients",),
        event=None,
        event_alone=None,
    )
    names = tuple(federation.signed.roster.names)
    nothing = CohortBudget(name="patients", delta=1e-4, epsilon_cap=0.0)
    no_accounting = replace(nothing, delta=1e-12)
    other = replace(nothing, name="clinic")
    for budget, entries in ((nothing, ()), (nothing, (bare,)), (no_accounting, ()), (other, ())):
        gate = make_gate(
            study,
            ledger=MemoryLedger(entries),
            policy={"cohorts": {budget.name: budget}},
            sessions=OpenSessions(names),
        )

        gate.open_session(federation.query_for_session(study))

        with pytest.raises((Refused, PrivacyRefusal)):
            gate.admit(make_query(study), query_digest=DIGEST)


def test_a_cap_above_the_studys_epsilon_changes_nothing(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    generous, plain = make_gate(study, policy={"epsilon_cap": 1000.0}), make_gate(study)
    for gate in (generous, plain):
        gate.admit(make_query(study, "moments"), query_digest=DIGEST)

    assert admitted_rounds(generous, study, make_query) == study.training.rounds
    assert admitted_rounds(plain, study, make_query) == study.training.rounds


def test_a_site_that_trusts_others_less_adds_more_noise(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    def noise_of(colluding: int) -> tuple[float, float]:
        gate = make_gate(study, policy={"colluding": colluding})
        query = make_query(study, roster=tuple(f"site-{number}" for number in range(5)))
        entry = gate.admit(query, query_digest=DIGEST).entry
        assert entry.event
        assert entry.event_alone
        return entry.event.noise_multiplier, entry.event_alone.noise_multiplier

    # Of five sites, four are taken to be honest, then one; the study itself takes one to cheat.
    (whole, four), (same, one) = noise_of(0), noise_of(4)
    assert (whole, four) == noise_of(1)
    assert whole == same
    assert one == pytest.approx(2 * four)
    assert one == pytest.approx(whole)


def test_a_site_that_trusts_nobody_asks_for_one_site_more_than_may_cheat(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    gate = make_gate(study, policy={"colluding": 3})

    assert refused(gate, make_query(study)) == RefusalReason.ROSTER_TOO_SMALL


def test_a_site_may_ask_for_more_sites_than_the_study(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    gate = make_gate(study, policy={"minimum_sites": 4})

    with pytest.raises(Refused, match="asks for 4") as caught:
        gate.admit(make_query(study), query_digest=DIGEST)
    assert caught.value.reason == RefusalReason.ROSTER_TOO_SMALL


def test_no_policy_goes_below_the_studys_minimum(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    gate = make_gate(study, policy={"minimum_sites": 1})

    query = make_query(study, roster=("site-0",))
    assert refused(gate, query) == RefusalReason.ROSTER_TOO_SMALL


def test_a_sum_that_could_overflow_is_refused(
    make_study: MakeStudy, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    # Sites, patients and clip are at their largest: together they do not fit the ring.
    study = make_study(cohort={"max_patients_per_site": 2**24}, privacy={"clip": 1.9})
    names = tuple(sorted(f"site-{number}" for number in range(10_000)))
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger, names=names)

    assert refused(gate, make_query(study, roster=names)) == RefusalReason.PRIVACY
    assert ledger.entries() == ()
    gate.admit(make_query(study, roster=names[:1000]), query_digest=DIGEST)


def test_a_sum_whose_noise_fits_no_ring_is_refused(
    make_study: MakeStudy, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    study = make_study(privacy={"epsilon": 1e-7, "delta": 1e-9}, scaling={"method": "public_range"})

    assert refused(make_gate(study), make_query(study)) == RefusalReason.PRIVACY


def test_a_baseline_without_privacy_is_not_charged(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MemoryLedger()
    gate = make_gate(study, ledger=ledger, protection=Unprotected(largest_site=100))

    assert admitted_rounds(gate, study, make_query, tries=10) == 10
    assert all(entry.event is entry.event_alone is None for entry in ledger.entries())


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("moments", {"round": 1}, RefusalReason.NOT_IN_STUDY),
        ("counts", {}, RefusalReason.NOT_IN_STUDY),
        ("gradient_sum", {"round": 10**6}, RefusalReason.NOT_IN_STUDY),
        ("gradient_sum", {"roster": ("site-1", "site-2")}, RefusalReason.NOT_IN_ROSTER),
        ("gradient_sum", {"roster": ("site-0",)}, RefusalReason.ROSTER_TOO_SMALL),
    ],
)
def test_what_no_session_could_make_good_joins_none(
    study: Study,
    federation: Any,
    make_query: MakeQuery,
    kind: str,
    changes: dict[str, Any],
    reason: RefusalReason,
) -> None:
    desk = federation.desk("site-0")
    gate = Gate(
        site="site-0",
        identity_key=federation.keys["site-0"],
        studies={study.digest: study},
        policy=federation.policy(),
        ledger=MemoryLedger(),
        protection=PlannedProtection(),
        sessions=desk,
    )
    opening = federation.query_for_session(study)
    others = [federation.desk(name).open(opening, minimum_sites=2) for name in ("site-1", "site-2")]
    own, head = gate.open_session(opening)
    assert head is None
    first = (own, *others)
    pair = first[:2]

    assert refused(gate, make_query(study, kind, offers=pair, **changes)) == reason
    # The session is still to be joined, by other offers.
    assert gate.admit(
        make_query(study, offers=first), query_digest=DIGEST
    ).session.participants == (
        "site-0",
        "site-1",
        "site-2",
    )


class MeetingLedger(MemoryLedger):
    """Holds whoever checks the charges until another thread does too, or a moment has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = threading.Barrier(2)
        self.meets = False

    def reserve(self, entry: LedgerEntry, *, check: CheckCharges | None = None) -> None:
        def checked_together(charged: Charged) -> None:
            assert check is not None
            check(charged)
            if self.meets:
                with suppress(threading.BrokenBarrierError):
                    self.barrier.wait(timeout=0.3)

        super().reserve(entry, check=checked_together)


def test_two_queries_at_once_do_not_share_the_last_of_the_budget(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    ledger = MeetingLedger()
    gate = make_gate(study, ledger=ledger)
    gate.admit(make_query(study, "moments"), query_digest=DIGEST)
    for number in range(1, study.training.rounds):
        gate.admit(make_query(study, round=number), query_digest=DIGEST)
    ledger.meets = True
    admitted: list[int] = []

    def admit(attempt: int) -> None:
        with suppress(Refused):
            query = make_query(study, round=study.training.rounds, attempt=attempt)
            gate.admit(query, query_digest=DIGEST)
            admitted.append(attempt)

    threads = [threading.Thread(target=admit, args=(attempt,)) for attempt in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(admitted) == 1


def entry_at(place: tuple[str, int, int], entry: LedgerEntry) -> LedgerEntry:
    run_id, number, attempt = place
    return replace(entry, run_id=run_id, round=number, attempt=attempt)


def test_a_place_that_was_answered_is_refused_whatever_is_asked(
    study: Study, make_gate: MakeGate, make_query: MakeQuery
) -> None:
    entry = make_gate(study).admit(make_query(study), query_digest=DIGEST).entry
    gate = make_gate(study, ledger=MemoryLedger([entry_at(("run", 2, 1), entry)]))

    for changes in ({}, {"roster": ("site-0", "site-1")}, {"session": 2}):
        query = make_query(study, round=2, **changes)
        assert refused(gate, query) == RefusalReason.ALREADY_ANSWERED
    gate.admit(make_query(study, round=2, attempt=2), query_digest=DIGEST)
