from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedward.client.vault.chain_witness import SLOT_BYTES, ChainWitness, Witnessed
from fedward.common.ledger.heads import LedgerPosition


def seen(sequence: int, *, ledger_id: str = "a" * 32) -> Witnessed:
    position = LedgerPosition(sequence=sequence, digest=f"{sequence:064x}")
    return Witnessed(ledger_id=ledger_id, position=position)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "ledger.lock", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def test_an_empty_file_has_seen_nothing(file: int) -> None:
    witness = ChainWitness(file)
    assert witness.last is None
    assert not witness.damaged


def test_what_was_seen_last_is_remembered(file: int) -> None:
    witness = ChainWitness(file)
    for number in (0, 1, 2, 7, 10**9):
        witness.remember(seen(number))
        assert witness.last == ChainWitness(file).last == seen(number)
        # The file does not grow with the ledger.
        assert os.fstat(file).st_size <= 2 * SLOT_BYTES
    # Nor does it matter who goes on.
    for number in (10**9 + 1, 10**9 + 2):
        ChainWitness(file).remember(seen(number))
        assert ChainWitness(file).last == seen(number)


def test_what_is_known_is_not_written_again(file: int) -> None:
    witness = ChainWitness(file)
    witness.remember(seen(1))
    before = os.pread(file, 2 * SLOT_BYTES, 0)
    witness.remember(seen(1))
    ChainWitness(file).remember(seen(1))
    assert os.pread(file, 2 * SLOT_BYTES, 0) == before


@pytest.mark.parametrize("last", [3, 4])
def test_a_write_that_is_torn_anywhere_leaves_what_was_seen_before(file: int, last: int) -> None:
    witness = ChainWitness(file)
    for number in range(last):
        witness.remember(seen(number))
    before = os.pread(file, 2 * SLOT_BYTES, 0)
    witness.remember(seen(last))
    after = os.pread(file, 2 * SLOT_BYTES, 0).ljust(2 * SLOT_BYTES, b"\0")
    changed = [n for n, (old, new) in enumerate(zip(before, after, strict=False)) if old != new]
    # One block alone was written, and not the one that held the newest.
    assert {n // SLOT_BYTES for n in changed} == {last % 2}

    for cut in range(changed[0], changed[-1] + 1):
        for torn in (
            after[:cut] + before[cut:],
            before[:cut] + after[cut:],
            after[:cut] + b"\xff" * (changed[-1] - cut + 1) + after[changed[-1] + 1 :],
        ):
            os.pwrite(file, torn, 0)
            found = ChainWitness(file)
            assert found.last in (seen(last - 1), seen(last))
            assert not found.damaged
            # The sound one is written over only once there is a newer one.
            found.remember(seen(last + 1))
            assert ChainWitness(file).last == seen(last + 1)


def test_a_file_in_which_nothing_is_sound_is_damaged(file: int) -> None:
    ChainWitness(file).remember(seen(1))
    for number in (0, 40, 90, 150):
        spoilt = os.pread(file, 1, number)
        os.pwrite(file, bytes([spoilt[0] ^ 1]), number)
        found = ChainWitness(file)
        assert (found.last, found.damaged) == (None, True)
        os.pwrite(file, spoilt, number)
    assert ChainWitness(file).last == seen(1)


def test_a_write_that_failed_does_not_cost_what_is_on_the_disk(file: int, tmp_path: Path) -> None:
    witness = ChainWitness(file)
    for number in (1, 2):
        witness.remember(seen(number))
    read_only = os.open(tmp_path / "ledger.lock", os.O_RDONLY)
    kept = os.dup(file)
    os.dup2(read_only, file)
    for number in (3, 4):
        with pytest.raises(OSError, match="Bad file descriptor"):
            witness.remember(seen(number))
    os.dup2(kept, file)
    assert witness.last == ChainWitness(file).last == seen(2)
    os.pwrite(file, b"torn", 0)  # where the next one goes
    assert ChainWitness(file).last == seen(2)
    witness.remember(seen(4))
    assert ChainWitness(file).last == seen(4)
    for descriptor in (read_only, kept):
        os.close(descriptor)
