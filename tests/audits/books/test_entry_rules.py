"""Entries that are signed and chained as they should be, and wrong all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.common.ledger.entries import (
    ChargedEvent,
    LedgerOpened,
    ReleaseAbandoned,
)

Audited = Callable[..., Any]
MakeLedger = Callable[..., Any]


def only_error(outcome: Any, name: str) -> Any:
    assert outcome.failed == {name}
    (finding,) = outcome.errors(name)
    return finding


def test_a_place_that_was_reserved_twice_is_found(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    again = ledger.release(1)

    finding = only_error(audited(ledger), "reservations")

    assert finding.where.endswith(f"(entry {again})")
    assert "round 1, attempt 1" in finding.sentence


@pytest.mark.parametrize("of", [2, 1, 1000])
def test_a_commit_of_what_is_no_open_reservation_is_found(
    make_ledger: MakeLedger, audited: Audited, of: int
) -> None:
    ledger = make_ledger()
    ledger.commit(of)

    assert f"closes entry {of}" in only_error(audited(ledger), "reservations").sentence


def test_an_abandoned_reservation_is_closed_and_one_without_a_word_is_told(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    ledger.add(ReleaseAbandoned, of=ledger.reserve(7), reason="the sum did not fit its ring")
    left = ledger.reserve(8)

    outcome = audited(ledger)

    assert outcome.failed == set()
    (warning,) = outcome.warnings("reservations")
    assert f"entry {left}" in warning.sentence
    (of_site,) = outcome.audit.ledgers
    assert (of_site.reserved, of_site.committed, of_site.abandoned, of_site.open) == (5, 3, 1, 1)


def test_a_time_that_goes_back_is_an_error_and_a_clock_that_did_a_warning(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    ledger.commit(ledger.reserve(7), behind=3600)
    assert "3600 s" in audited(ledger).warnings("clock")[0].sentence
    assert audited(ledger).failed == set()

    ledger.commit(ledger.reserve(8), time="2025-01-01T00:00:00Z")
    assert "dated before" in only_error(audited(ledger), "clock").sentence


def test_a_ledger_that_is_opened_twice_is_found(make_ledger: MakeLedger, audited: Audited) -> None:
    ledger = make_ledger()
    kind, fields = ledger.drafts[0]
    assert kind is LedgerOpened
    ledger.add(kind, **fields)

    assert "opens a ledger again" in only_error(audited(ledger), "chain").sentence


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"event": None, "epsilon": None}, "without noise"),
        (
            {"event_alone": ChargedEvent(noise_multiplier=4.0, sampling_rate=0.5, count=1)},
            "not of the same sums",
        ),
        (
            {"event_alone": ChargedEvent(noise_multiplier=9.0, sampling_rate=1.0, count=1)},
            "more than the whole",
        ),
        ({"study_name": "another"}, "another name"),
        ({"holdout": 0.5}, "another name, delta or holdout"),
    ],
)
def test_events_that_do_not_fit_are_found(
    make_ledger: MakeLedger, audited: Audited, changes: dict[str, Any], told: str
) -> None:
    ledger = make_ledger()
    ledger.release(7, **changes)

    outcome = audited(ledger)

    assert told in outcome.errors("noise")[0].sentence
