from __future__ import annotations

from typing import Any

import pytest

from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.secure_sum.signatures import SiteIdentity

COORDINATOR = SiteIdentity.generate()


@pytest.fixture
def head(identity: SiteIdentity) -> LedgerHead:
    return LedgerHead.sign(identity, site="site-0", ledger_id="a" * 32, sequence=7, digest="b" * 64)


CHANGES: list[dict[str, Any]] = [
    {"site": "site-1"},
    {"ledger_id": "c" * 32},
    {"sequence": 8},
    {"digest": "d" * 64},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_head_is_signed_as_a_whole(
    head: LedgerHead, identity: SiteIdentity, change: dict[str, Any]
) -> None:
    assert head.is_signed_by(identity.public_key)
    assert not head.is_signed_by(COORDINATOR.public_key)
    assert not head.model_copy(update=change).is_signed_by(identity.public_key)


def test_a_countersignature_is_over_the_head_and_the_run(head: LedgerHead) -> None:
    known = KnownHead.seen(head, run_id="run", coordinator=COORDINATOR)
    key = COORDINATOR.public_key
    assert known.is_countersigned_by(key)
    assert known.coordinator_key == key.hex()
    assert not known.is_countersigned_by(SiteIdentity.generate().public_key)
    assert not known.model_copy(update={"run_id": "another"}).is_countersigned_by(key)
    for change in CHANGES:
        changed = known.model_copy(update={"head": head.model_copy(update=change)})
        assert not changed.is_countersigned_by(key)


def test_a_coordinator_without_a_key_countersigns_nothing(head: LedgerHead) -> None:
    known = KnownHead.seen(head, run_id="run", coordinator=None)
    assert (known.coordinator_key, known.countersignature) == (None, None)
    assert not known.is_countersigned_by(COORDINATOR.public_key)
