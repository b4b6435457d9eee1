"""Counter-signatures that a ledger keeps are the coordinator's, and of its own entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.common.ledger.heads import KnownHead

Audited = Callable[..., Any]
MakeLedger = Callable[..., Any]


def test_a_counter_signature_of_its_own_entry_passes(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    assert audited(make_ledger()).check("seen_heads").passed is True


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"head_digest": "0" * 64}, "counter-signs another entry"),
        ({"head_sequence": 3}, "counter-signs another entry"),
        ({"head_sequence": 500}, "which is not before it"),
        ({"signature": "0" * 128}, "counter-signature is wrong"),
        ({"run_id": "another"}, "counter-signature is wrong"),
        ({"coordinator_key": "0" * 64}, "by another key"),
    ],
)
def test_one_that_does_not_fit_is_found(
    make_ledger: MakeLedger, audited: Audited, changes: dict[str, Any], told: str
) -> None:
    ledger = make_ledger()
    ledger.countersign(4, **changes)

    outcome = audited(ledger)

    assert outcome.failed == {"seen_heads"}
    assert any(told in finding.sentence for finding in outcome.errors("seen_heads"))


def test_a_counter_signature_by_a_stranger_is_found(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    forged = KnownHead.seen(ledger.head(4), run_id="run", coordinator=ledger.stranger)
    ledger.countersign(4, signature=forged.countersignature, coordinator_key=forged.coordinator_key)

    assert "by another key" in audited(ledger).errors("seen_heads")[0].sentence
