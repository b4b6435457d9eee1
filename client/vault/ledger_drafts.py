"""Entries to be: everything but their place in the chain and their time."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.ledger import LedgerEntry
from fedward.common.errors import PrivacyRefusal
from fedward.common.ledger.entries import (
    ChargedEvent,
    CohortDeclared,
    Entry,
    HeadCountersigned,
    LedgerOpened,
    ReleaseReserved,
)
from fedward.common.ledger.heads import KnownHead
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent
from fedward.common.secure_sum.signatures import SiteIdentity

Draft = Callable[..., Entry]
"""Makes the entry of its ``sequence``, ``previous``, ``time`` and ``behind``."""


def stamped(draft: Draft, *, sequence: int, previous: str, now: datetime, after: str) -> Entry:
    """The entry at this place, dated ``now`` but never before ``after``, the entry ahead of it.

    ``behind`` is by how many seconds the clock shows less.
    """
    shown = now.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    time, behind = f"{shown.isoformat(timespec='seconds')}Z", 0
    if time < after:
        ahead = datetime.fromisoformat(after).replace(tzinfo=None)
        time, behind = after, int((ahead - shown).total_seconds())
    return draft(sequence=sequence, previous=previous, time=time, behind=behind)


def opening_of(*, site: str, identity: SiteIdentity) -> Draft:
    """The first entry of a new ledger, with a random id."""
    return partial(
        LedgerOpened,
        site=site,
        identity_key=identity.public_key.hex(),
        ledger_id=secrets.token_hex(16),
        software=f"fedward {version('fedward')}",
    )


def declaration_of(budget: CohortBudget) -> Draft:
    """A cohort's declaration."""
    return partial(
        CohortDeclared,
        cohort=budget.name,
        delta=budget.delta,
        epsilon_cap=budget.epsilon_cap,
        epsilon_alone_cap=budget.epsilon_alone_cap,
        shares_patients_with=budget.shares_patients_with,
    )


def reservation_of(entry: LedgerEntry) -> Draft:
    """A reservation, with what the release costs by itself.

    Raises :class:`PrivacyRefusal` if that has no finite epsilon.
    """
    return partial(
        ReleaseReserved,
        run_id=entry.run_id,
        study_digest=entry.study_digest,
        study_name=entry.study_name,
        query_digest=entry.query_digest,
        sum=entry.kind,
        round=entry.round,
        attempt=entry.attempt,
        sites=entry.sites,
        delta=entry.delta,
        holdout=entry.holdout,
        cohorts=entry.cohorts,
        event=_charged(entry.event),
        event_alone=_charged(entry.event_alone),
        epsilon=_epsilon(entry.event, entry.delta),
        epsilon_alone=_epsilon(entry.event_alone, entry.delta),
    )


def countersignature_of(known: KnownHead) -> Draft:
    """What a coordinator has seen; ValueError if its countersignature does not verify."""
    key, signature = known.coordinator_key, known.countersignature
    if key is None or signature is None or not known.is_countersigned_by(bytes.fromhex(key)):
        raise ValueError("the coordinator's countersignature does not verify")
    return partial(
        HeadCountersigned,
        run_id=known.run_id,
        head_sequence=known.head.sequence,
        head_digest=known.head.digest,
        coordinator_key=key,
        signature=signature,
    )


def _charged(event: GaussianEvent | None) -> ChargedEvent | None:
    return ChargedEvent.of(event) if event is not None else None


def _epsilon(event: GaussianEvent | None, delta: float) -> float | None:
    if event is None:
        return None
    epsilon = epsilon_of([event], delta=delta)
    if not math.isfinite(epsilon):
        raise PrivacyRefusal("A release has no finite epsilon, so it cannot be charged.")
    return epsilon
