from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.client.vault.ledger import LedgerEntry, MemoryLedger
from fedward.common.privacy.events import GaussianEvent

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


def test_a_reservation_counts_before_it_is_committed() -> None:
    ledger = MemoryLedger()
    ledger.reserve(ENTRY)

    assert ledger.answered(ENTRY.place)
    assert ledger.entries() == (ENTRY,)


def test_a_commitment_adds_the_digest_and_nothing_else() -> None:
    ledger = MemoryLedger()
    ledger.reserve(ENTRY)
    ledger.commit(ENTRY.place, release_digest="2" * 64)

    assert ledger.entries() == (replace(ENTRY, release_digest="2" * 64),)


def test_a_place_is_reserved_once() -> None:
    ledger = MemoryLedger([ENTRY])

    with pytest.raises(ValueError, match="already reserved"):
        ledger.reserve(replace(ENTRY, query_digest="9" * 64, study_digest="8" * 64))
    assert ledger.entries() == (ENTRY,)


def test_what_was_never_reserved_cannot_be_committed() -> None:
    ledger = MemoryLedger()

    with pytest.raises(KeyError):
        ledger.commit(ENTRY.place, release_digest="2" * 64)
    assert ledger.entries() == ()


@pytest.mark.parametrize("change", [{"run_id": "other"}, {"round": 2}, {"attempt": 2}])
def test_run_round_and_attempt_make_a_place(change: dict[str, object]) -> None:
    ledger = MemoryLedger([ENTRY])

    assert not ledger.answered(replace(ENTRY, **change).place)
    ledger.reserve(replace(ENTRY, **change))
    assert len(ledger.entries()) == 2


@given(st.permutations(range(6)))
def test_entries_keep_their_order_through_commits(order: list[int]) -> None:
    entries = [replace(ENTRY, round=number) for number in range(6)]
    ledger = MemoryLedger(entries[:2])
    for entry in entries[2:]:
        ledger.reserve(entry)
    for number in order:
        ledger.commit(entries[number].place, release_digest=f"{number:064}")

    assert [entry.round for entry in ledger.entries()] == list(range(6))
    assert [entry.release_digest for entry in ledger.entries()] == [f"{n:064}" for n in range(6)]


def test_many_threads_reserve_a_place_once() -> None:
    ledger = MemoryLedger()
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
