from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import (
    AlreadyReservedError,
    Charge,
    Ledger,
    LedgerEntry,
    MemoryLedger,
)
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind

ENTRY = LedgerEntry(
    run_id="run",
    study_digest="0" * 64,
    query_digest="1" * 64,
    kind="training",
    round=1,
    attempt=1,
    event=GaussianEvent(noise_multiplier=2.0),
    event_alone=GaussianEvent(noise_multiplier=1.0),
)


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
        ledger = DurableLedger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
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


def test_what_was_never_reserved_cannot_be_committed(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()

    with pytest.raises(KeyError):
        ledger.commit(ENTRY.place, release_digest="2" * 64)
    assert ledger.entries() == ()


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
events = st.none() | st.builds(
    GaussianEvent,
    noise_multiplier=st.floats(1e-3, 1e6),
    sampling_rate=st.floats(2.0**-20, 1),
    count=st.integers(1, 1000),
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

    assert ledger.charged("0" * 64) == Counter(kinds[which] for which in given_charges)
    assert ledger.charged("9" * 64) == {elsewhere.charge: 1}
    assert ledger.charged("8" * 64) == {}
    assert set(ledger.entries()) == {*entries, elsewhere}


def test_a_place_that_is_refused_is_not_counted(make_ledger: MakeLedger) -> None:
    ledger = make_ledger([ENTRY])
    with pytest.raises(ValueError, match="already reserved"):
        ledger.reserve(ENTRY)
    ledger.commit(ENTRY.place, release_digest="2" * 64)

    assert ledger.charged(ENTRY.study_digest) == {ENTRY.charge: 1}


class TooMuchError(Exception):
    pass


def test_a_check_sees_the_charges_and_can_stop_the_entry(make_ledger: MakeLedger) -> None:
    ledger = make_ledger([ENTRY, replace(ENTRY, run_id="other", study_digest="9" * 64)])
    seen: list[object] = []

    def too_much(charged: object) -> None:
        seen.append(charged)
        raise TooMuchError

    with pytest.raises(TooMuchError):
        ledger.reserve(replace(ENTRY, round=2), check=too_much)
    assert len(ledger.entries()) == 2
    assert not ledger.answered(("run", 2, 1))
    ledger.reserve(replace(ENTRY, round=2), check=seen.append)
    assert seen == [{ENTRY.charge: 1}] * 2
    assert ledger.charged(ENTRY.study_digest) == {ENTRY.charge: 2}
    with pytest.raises(AlreadyReservedError):
        ledger.reserve(replace(ENTRY, round=2), check=seen.append)
    assert len(seen) == 2


def test_nothing_is_reserved_between_a_check_and_its_entry(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    seen: list[int] = []
    meeting = threading.Barrier(2)

    def check(charged: Mapping[Charge, int]) -> None:
        seen.append(sum(charged.values()))
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
