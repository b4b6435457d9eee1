"""The SQLite database of a ledger: how it is opened, made, and known for what it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.event import listen
from sqlalchemy.pool import StaticPool

from fedward.client.vault.ledger_limits import APPLICATION
from fedward.client.vault.ledger_rows import METADATA
from fedward.client.vault.owned_file import OwnedFile
from fedward.common.ledger.entries import LEDGER_FORMAT

BUSY_SECONDS = 5.0
"""How long to wait for another connection that holds the file."""


def engine_for(path: Path) -> Engine:
    """One connection for all threads, which takes the write lock with every transaction."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
    )
    listen(engine, "connect", _prepare)
    listen(engine, "begin", _begin)
    return engine


def make_or_check(connection: Connection, file: OwnedFile) -> bool:
    """Make an empty file a ledger without entries (True), and check any other file (False).

    Raises :class:`InputError` if it is no ledger of this format, is damaged, or is empty where
    there was a ledger.
    """
    found, written = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("application_id", "user_version")
    )
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    if (found, written, tables) == (0, 0, 0):
        known, damaged = file.witness.last, file.witness.damaged
        if known is not None or damaged:
            ledger = "a ledger" if known is None else f"the ledger {known.ledger_id}"
            raise file.unusable(
                f"is empty, but {ledger} was here",
                fix="restore its latest copy; if it shall be forgotten, remove its .lock file too",
            )
        METADATA.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
        connection.exec_driver_sql(f"PRAGMA user_version = {LEDGER_FORMAT}")
        return True
    if found != APPLICATION:
        raise file.unusable("is no ledger", fix="give the vault another file")
    if written != LEDGER_FORMAT:
        raise file.unusable(
            f"is a ledger of format {written}, not {LEDGER_FORMAT}",
            fix="use the version of fedward that wrote it, or another ledger",
        )
    damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if damage != "ok":
        problem = str(damage).splitlines()[-1]
        raise file.unusable(f"is damaged ({problem})", fix="restore its latest copy")
    return False


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are ours, or Python would make tables outside of one.
    connection.isolation_level = None
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError("its disk allows no write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
