"""Entries of a ledger as rows of a database, and back, to the last bit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    UniqueConstraint,
)

from fedward.client.vault.ledger import LedgerEntry, Place
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import PART_OF

METADATA = MetaData()
ENTRIES = Table(
    "entries",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String, nullable=False),
    Column("study_digest", String, nullable=False),
    Column("query_digest", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("event_noise", Float),
    Column("event_rate", Float),
    Column("event_count", Integer),
    Column("alone_noise", Float),
    Column("alone_rate", Float),
    Column("alone_count", Integer),
    Column("release_digest", String),
    UniqueConstraint("run_id", "round", "attempt"),
    sqlite_autoincrement=True,
)


def at(place: Place) -> tuple[ColumnElement[bool], ...]:
    """The conditions under which a row is that of this (run, round, attempt)."""
    run_id, number, attempt = place
    columns = ENTRIES.c
    return columns.run_id == run_id, columns.round == number, columns.attempt == attempt


def values_of(entry: LedgerEntry) -> dict[str, str | int | float | None]:
    """An entry by column."""
    return {
        "run_id": entry.run_id,
        "study_digest": entry.study_digest,
        "query_digest": entry.query_digest,
        "kind": entry.kind,
        "round": entry.round,
        "attempt": entry.attempt,
        "release_digest": entry.release_digest,
        **_event_values("event", entry.event),
        **_event_values("alone", entry.event_alone),
    }


def _event_values(prefix: str, event: GaussianEvent | None) -> dict[str, float | int | None]:
    return {
        f"{prefix}_noise": event.noise_multiplier if event else None,
        f"{prefix}_rate": event.sampling_rate if event else None,
        f"{prefix}_count": event.count if event else None,
    }


def entry_of(row: Row[Any]) -> LedgerEntry:
    """The entry of a row; ValueError or TypeError if it holds none."""
    if row.kind not in PART_OF:
        raise ValueError(f"of the kind {row.kind!r}")
    return LedgerEntry(
        run_id=row.run_id,
        study_digest=row.study_digest,
        query_digest=row.query_digest,
        kind=row.kind,
        round=row.round,
        attempt=row.attempt,
        event=_event(row.event_noise, row.event_rate, row.event_count),
        event_alone=_event(row.alone_noise, row.alone_rate, row.alone_count),
        release_digest=row.release_digest,
    )


def _event(noise: float | None, rate: float | None, count: int | None) -> GaussianEvent | None:
    if noise is None and rate is None and count is None:
        return None
    if noise is None or rate is None or count is None:
        raise ValueError("with half an event")
    return GaussianEvent(noise_multiplier=noise, sampling_rate=rate, count=count)
