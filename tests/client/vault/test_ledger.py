from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.client.vault.charges import Charge, Charged
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import (
    AlreadyReservedError,
    Ledger,
    LedgerEntry,
    MemoryLedger,
)
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.secure_sum.signatures import SiteIdentity

ENTRY = LedgerEntry(
    run_id="run",
    study_digest="0" * 64,
    study_name="study",
    query_digest="1" * 64,
    kind="training",
    round=1,
    attempt=1,
    sites=3,
    delta=1e-5,
    holdout=0.2,
    cohorts=("patients",),
    event=GaussianEvent(noise_multiplier=2.0),
    event_alone=GaussianEvent(noise_multiplier=1.0),
)
IDENTITY = SiteIdentity.generate()

MakeLedger = Callable[..., Ledger]


@pytest.fixture(params=["memory", "durable"])
def make_ledger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeLedger]:
    """A ledger of either kind that holds these entries: all of them keep one contract."""
    opened: list[DurableLedger] = []

    def make(entries: Iterable[LedgerEntry] = ()) -> Ledger:
        if request.param == "memory":
            return MemoryLedger(entries)
        ledger = DurableLedger(
            tmp_path_factory.mktemp("ledger") / "ledger.sqlite", site="site-0", identity=IDENTITY
        )
        opened.append(ledger)
        for entry in entries:
            ledger.reserve(entry)
        return ledger

    yield make
    for ledger in opened:
        ledger.close()


def test_a_reservation_counts_before_it_is_committed(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.reserve(ENTRY)

    assert ledger.answered(ENTRY.place)
    assert ledger.entries() == (ENTRY,)


def test_a_commitment_adds_the_digest_and_nothing_else(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    ledger.reserve(ENTRY)
    ledger.commit(ENTRY.place, release_digest="2" * 64)

    assert ledger.entries() == (replace(ENTRY, release_digest="2" * 64),)


def test_a_place_is_reserved_once(make_ledger: MakeLedger) -> None:
    ledger = make_ledger([ENTRY])

    with pytest.raises(ValueError, match="already reserved"):
        ledger.reserve(replace(ENTRY, query_digest="9" * 64, study_digest="8" * 64))
    assert ledger.entries() == (ENTRY,)


def test_what_was_never_reserved_cannot_be_committed_or_abandoned(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()

    with pytest.raises(KeyError):
        ledger.commit(ENTRY.place, release_digest="2" * 64)
    with pytest.raises(KeyError):
        ledger.abandon(ENTRY.place, reason="the vault failed")
    assert ledger.entries() == ()


@pytest.mark.parametrize("first", ["commit", "abandon"])
@pytest.mark.parametrize("then", ["commit", "abandon"])
def test_a_reservation_comes_to_one_end(make_ledger: MakeLedger, first: str, then: str) -> None:
    ledger = make_ledger()
    ledger.reserve(ENTRY)

    def end(how: str, digest: str) -> None:
        if how == "commit":
            ledger.commit(ENTRY.place, release_digest=digest)
        else:
            ledger.abandon(ENTRY.place, reason="the vault failed")

    end(first, "2" * 64)
    with pytest.raises(ValueError, match="committed or abandoned before"):
        end(then, "3" * 64)
    expected = "2" * 64 if first == "commit" else None
    assert [entry.release_digest for entry in ledger.entries()] == [expected]
    # Nothing is given back.
    assert ledger.charged().of_study(ENTRY.study_digest) == {ENTRY.charge: 1}
    with pytest.raises(AlreadyReservedError):
        ledger.reserve(ENTRY)


def test_an_entry_is_charged_to_all_of_its_cohorts_by_study_and_holdout(
    make_ledger: MakeLedger,
) -> None:
    both = ("cardiology", "hospital")
    other = replace(ENTRY, round=3, study_digest="9" * 64, holdout=0.5, cohorts=("hospital",))
    ledger = make_ledger([replace(ENTRY, cohorts=both), replace(ENTRY, round=2, cohorts=both)])
    ledger.reserve(other)

    own = {("0" * 64, 0.2): {ENTRY.charge: 2}}
    assert ledger.charged().of_cohort("cardiology") == own
    assert ledger.charged().of_cohort("hospital") == {
        **own,
        ("9" * 64, 0.5): {ENTRY.charge: 1},
    }
    assert ledger.charged().of_cohort("patients") == {}


@pytest.mark.parametrize("change", [{"run_id": "other"}, {"round": 2}, {"attempt": 2}])
def test_run_round_and_attempt_make_a_place(
    make_ledger: MakeLedger, change: dict[str, object]
) -> None:
    ledger = make_ledger([ENTRY])

    assert not ledger.answered(replace(ENTRY, **change).place)
    ledger.reserve(replace(ENTRY, **change))
    assert len(ledger.entries()) == 2


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_entries_keep_their_order_through_commits(
    make_ledger: MakeLedger, order: list[int]
) -> None:
    entries = [replace(ENTRY, round=number) for number in range(6)]
    ledger = make_ledger(entries[:2])
    for entry in entries[2:]:
        ledger.reserve(entry)
    for number in order:
        ledger.commit(entries[number].place, release_digest=f"{number:064}")

    assert [entry.round for entry in ledger.entries()] == list(range(6))
    assert [entry.release_digest for entry in ledger.entries()] == [f"{n:064}" for n in range(6)]


KINDS: tuple[SumKind, ...] = ("moments", "counts", "training", "evaluation", "site_evaluation")
events = st.sampled_from(
    [
        None,
        GaussianEvent(noise_multiplier=1 / 3),
        GaussianEvent(noise_multiplier=1 / 3, count=2),
        GaussianEvent(noise_multiplier=2 / 3),
        GaussianEvent(noise_multiplier=2 / 3, sampling_rate=0.1, count=7),
    ]
)
charges = st.builds(Charge, st.sampled_from(KINDS), events, events)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_charges=st.lists(st.sampled_from(range(3)), max_size=12),
    kinds=st.tuples(charges, charges, charges),
)
def test_equal_charges_of_a_study_are_counted(
    make_ledger: MakeLedger, given_charges: list[int], kinds: tuple[Charge, ...]
) -> None:
    entries = [
        replace(
            ENTRY,
            round=number,
            kind=kinds[which].kind,
            event=kinds[which].event,
            event_alone=kinds[which].event_alone,
        )
        for number, which in enumerate(given_charges)
    ]
    elsewhere = replace(ENTRY, run_id="other", study_digest="9" * 64)
    half = len(entries) // 2
    ledger = make_ledger([*entries[:half], elsewhere])
    for entry in entries[half:]:
        ledger.reserve(entry)

    assert ledger.charged().of_study("0" * 64) == Counter(kinds[which] for which in given_charges)
    assert ledger.charged().of_study("9" * 64) == {elsewhere.charge: 1}
    assert ledger.charged().of_study("8" * 64) == {}
    assert set(ledger.entries()) == {*entries, elsewhere}


def test_a_place_that_is_refused_is_not_counted(make_ledger: MakeLedger) -> None:
    ledger = make_ledger([ENTRY])
    with pytest.raises(ValueError, match="already reserved"):
        ledger.reserve(ENTRY)
    ledger.commit(ENTRY.place, release_digest="2" * 64)

    assert ledger.charged().of_study(ENTRY.study_digest) == {ENTRY.charge: 1}


class TooMuchError(Exception):
    pass


def test_a_check_sees_the_charges_and_can_stop_the_entry(make_ledger: MakeLedger) -> None:
    ledger = make_ledger([ENTRY, replace(ENTRY, run_id="other", study_digest="9" * 64)])
    seen: list[object] = []

    def note(charged: Charged) -> None:
        seen.append(charged.of_study(ENTRY.study_digest))

    def too_much(charged: Charged) -> None:
        note(charged)
        raise TooMuchError

    with pytest.raises(TooMuchError):
        ledger.reserve(replace(ENTRY, round=2), check=too_much)
    assert len(ledger.entries()) == 2
    assert not ledger.answered(("run", 2, 1))
    ledger.reserve(replace(ENTRY, round=2), check=note)
    assert seen == [{ENTRY.charge: 1}] * 2
    assert ledger.charged().of_study(ENTRY.study_digest) == {ENTRY.charge: 2}
    with pytest.raises(AlreadyReservedError):
        ledger.reserve(replace(ENTRY, round=2), check=note)
    assert len(seen) == 2


def test_nothing_is_reserved_between_a_check_and_its_entry(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    seen: list[int] = []
    meeting = threading.Barrier(2)

    def check(charged: Charged) -> None:
        seen.append(sum(charged.of_study(ENTRY.study_digest).values()))
        with suppress(threading.BrokenBarrierError):
            meeting.wait(timeout=0.2)  # for another check at the same time

    threads = [
        threading.Thread(target=ledger.reserve, args=(replace(ENTRY, round=number),),
                         kwargs={"check": check})
        for number in range(3)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [0, 1, 2]


def test_a_ledger_does_not_cross_a_fork(
    make_ledger: MakeLedger, in_a_fork: Callable[[Callable[[], object]], str]
) -> None:
    ledger = make_ledger()

    assert "must not cross a fork" in in_a_fork(lambda: ledger.reserve(ENTRY))
    assert ledger.entries() == ()
    ledger.reserve(ENTRY)


def test_many_threads_reserve_a_place_once(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    won: list[int] = []
    start = threading.Barrier(8)

    def reserve(number: int) -> None:
        start.wait()
        try:
            ledger.reserve(ENTRY)
        except ValueError:
            return
        won.append(number)

    threads = [threading.Thread(target=reserve, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
