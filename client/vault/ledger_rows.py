"""The tables of a ledger's file: the chain, and an index of the places that are taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    cast,
    func,
    insert,
    select,
)

from fedward.client.vault.ledger import Place
from fedward.client.vault.ledger_limits import MOST_ENTRY_BYTES
from fedward.common.ledger.chain import SignedEntry, canonical, entry_of

METADATA = MetaData()
ENTRIES = Table(
    "entries",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("body", String, nullable=False),
    Column("signature", String, nullable=False),
)
"""The chain: each entry's canonical text, which is what counts, and the site's signature."""
PLACES = Table(
    "places",
    METADATA,
    Column("run_id", String, primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, nullable=False, unique=True),
    sqlite_with_rowid=False,
)
"""Which entry reserved a place: so that SQLite itself lets none be reserved twice."""


def insert_entry(connection: Connection, signed: SignedEntry) -> None:
    """Append an entry to the chain; ValueError for one that is too long to be read again."""
    body = canonical(signed.entry)
    if len(body.encode()) > MOST_ENTRY_BYTES:
        raise ValueError(f"would have an entry of more than {MOST_ENTRY_BYTES:,} bytes")
    connection.execute(
        insert(ENTRIES).values(
            sequence=signed.entry.sequence, body=body, signature=signed.signature
        )
    )


def insert_place(connection: Connection, place: Place, sequence: int) -> None:
    """Take a place; ``IntegrityError`` if it is taken."""
    run_id, number, attempt = place
    connection.execute(
        insert(PLACES).values(run_id=run_id, round=number, attempt=attempt, sequence=sequence)
    )


def entries_from(connection: Connection, sequence: int) -> Iterator[tuple[int, SignedEntry]]:
    """The entries from this number on, with the numbers of their rows, in their order.

    Raises ValueError for a row that is no entry, once it is reached.
    """
    # As bytes, so that text which is none is the fault of one entry and not of the file.
    body, signature = (cast(ENTRIES.c[name], LargeBinary) for name in ("body", "signature"))
    wanted = select(
        ENTRIES.c.sequence,
        func.typeof(ENTRIES.c.body).label("kind"),
        func.length(body).label("length"),
        func.substr(body, 1, MOST_ENTRY_BYTES, type_=LargeBinary).label("body"),
        func.substr(signature, 1, MOST_ENTRY_BYTES, type_=LargeBinary).label("signature"),
    )
    wanted = wanted.where(ENTRIES.c.sequence >= sequence).order_by(ENTRIES.c.sequence)
    for row in connection.execute(wanted):
        if row.kind != "text" or row.length > MOST_ENTRY_BYTES:
            raise ValueError("is no text of an entry")
        entry = entry_of(row.body.decode())
        yield row.sequence, SignedEntry(entry=entry, signature=row.signature.decode())


def places_of(connection: Connection) -> dict[Place, int]:
    """The index of places."""
    rows: Any = connection.execute(select(PLACES))
    return {(row.run_id, row.round, row.attempt): row.sequence for row in rows}
