"""The ledger's reference names exactly the entries and keys that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from fedward.common.ledger.chain import SignedEntry, canonical, entry_digest, signed
from fedward.common.ledger.entries import ENTRY, Entry, LedgerOpened, ReleaseReserved
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.privacy.sum_plan import PART_OF
from fedward.common.secure_sum.signatures import SiteIdentity, verify

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "ledger.md"
IN_EVERY_ENTRY = {"kind", "sequence", "previous", "time", "behind"}


def rows(heading: str) -> list[list[str]]:
    text = PAGE.read_text("utf-8")
    section = re.split(rf"^## {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    lines = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells[1:] if not set(row[0]) <= set("-|")]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_entry_has_these_keys() -> None:
    assert {word for row in rows("Every entry") for word in words(row[0])} == IN_EVERY_ENTRY


def test_kinds_and_their_keys_are_those_of_the_code() -> None:
    shown = {next(iter(words(row[0]))): words(row[1]) for row in rows("Kinds")}
    models = get_args(get_args(Entry)[0])
    assert shown == {
        model.model_fields["kind"].default: set(model.model_fields) - IN_EVERY_ENTRY
        for model in models
    }


def test_a_reservation_is_explained_key_by_key() -> None:
    shown = {word for row in rows("A reservation") for word in words(row[0])}
    assert shown == set(ReleaseReserved.model_fields) - IN_EVERY_ENTRY
    kinds = next(row[1] for row in rows("A reservation") if row[0] == "`sum`")
    assert words(kinds) == set(PART_OF)


@pytest.fixture
def opened() -> LedgerOpened:
    return LedgerOpened(
        sequence=0,
        previous="0" * 64,
        time="2026-01-02T03:04:05Z",
        site="north",
        identity_key="ab" * 32,
        ledger_id="cd" * 16,
        software="fedward 0.1.0",
    )


def test_signatures_are_made_as_the_page_says(opened: LedgerOpened) -> None:
    text = PAGE.read_text("utf-8")
    identity, coordinator = SiteIdentity.generate(), SiteIdentity.generate()
    entry: SignedEntry = signed(opened, identity)
    assert "`fedward/ledger-entry/1`" in text
    assert verify(
        identity.public_key,
        purpose="ledger-entry",
        message=bytes.fromhex(entry_digest(opened)),
        signature=bytes.fromhex(entry.signature),
    )
    head = LedgerHead.sign(
        identity, site="north", ledger_id="cd" * 16, sequence=7, digest="ef" * 32
    )
    parts = f"north\0{'cd' * 16}\x007\0{'ef' * 32}"
    assert "`fedward/ledger-head/1`" in text
    assert verify(
        identity.public_key,
        purpose="ledger-head",
        message=parts.encode(),
        signature=bytes.fromhex(head.signature),
    )
    known = KnownHead.seen(head, run_id="run/1", coordinator=coordinator)
    assert known.countersignature is not None
    assert "`fedward/ledger-head-seen/1`" in text
    assert verify(
        coordinator.public_key,
        purpose="ledger-head-seen",
        message=f"{parts}\0run/1".encode(),
        signature=bytes.fromhex(known.countersignature),
    )


def test_an_entry_is_read_back_as_it_was_written(opened: LedgerOpened) -> None:
    assert ENTRY.validate_json(canonical(opened)) == opened
