from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.verified_ledger import export_of_file, verified_chain
from fedward.common.errors import InputError

OpenLedger = Callable[..., DurableLedger]


@pytest.fixture
def exported(federation: Any, ledger_path: Path) -> Callable[..., list[str]]:
    """The export of the ledger, as one site under one identity."""

    def lines(*, site: str = "site-0", identity: str = "site-0") -> list[str]:
        key = federation.identities[identity]
        return list(export_of_file(ledger_path, site=site, identity=key))

    return lines


def test_a_chain_that_holds_is_given_with_what_it_adds_up_to(
    open_ledger: OpenLedger, ledger_path: Path, federation: Any, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    key = federation.identities["site-0"].public_key

    chain, state = verified_chain(ledger_path, site="site-0", identity_key=key)
    assert [signed.entry.sequence for signed in chain] == [0, 1]
    assert state.position().digest == ledger.head().digest
    assert list(state.releases.values()) == [release]


def test_only_the_sites_own_identity_exports_its_ledger(
    open_ledger: OpenLedger, exported: Callable[..., list[str]]
) -> None:
    open_ledger().close()
    assert len(exported()) == 2

    with pytest.raises(InputError, match="is the ledger of another identity"):
        exported(identity="site-1")
    with pytest.raises(InputError, match="is the ledger of site-0, not of site-1"):
        exported(site="site-1")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM entries", "entry 0 is missing"),
        ("DELETE FROM entries WHERE sequence = 0", "entry 0 does not open a ledger"),
        ("DELETE FROM entries WHERE sequence = 1", "entry 1 is missing"),
        (
            "UPDATE entries SET body = replace(body, '\"round\":2', '\"round\":7')",
            "entry 2 is not signed",
        ),
        ("UPDATE entries SET signature = hex(zeroblob(64)) WHERE sequence = 2", "entry 2 is not"),
    ],
)
def test_no_head_is_signed_over_a_chain_that_does_not_hold(
    open_ledger: OpenLedger,
    ledger_path: Path,
    release: LedgerEntry,
    exported: Callable[..., list[str]],
    statement: str,
    problem: str,
) -> None:
    ledger = open_ledger()
    for number in (1, 2):
        ledger.reserve(replace(release, round=number))
    ledger.close()
    with closing(sqlite3.connect(ledger_path)) as connection, connection:
        connection.execute(statement)

    with pytest.raises(InputError, match=rf"{problem}.*; .*fedward audit ledger"):
        exported()
