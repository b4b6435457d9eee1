"""A ledger on the site's disk: what was reserved stays spent through crashes and restarts.

SQLite in WAL mode with ``synchronous=FULL``: a reservation is on the disk before the records are
read. One vault at a time owns the file, for two that answer from one budget would overspend it. A
lock says so early; that it holds is not relied on, as what was charged is read again from the file
within the transaction that adds to it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, insert, select, update
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from fedward.client.vault.ledger import (
    AlreadyReservedError,
    Charge,
    ChargeCounts,
    CheckCharges,
    LedgerEntry,
    Place,
    refuse_fork,
)
from fedward.client.vault.ledger_rows import ENTRIES, METADATA, at, entry_of, values_of
from fedward.common.errors import InputError

FORMAT = 1
"""SQLite's ``user_version`` of a ledger file."""
APPLICATION = 0x66774C31
"""SQLite's ``application_id`` of a ledger file: "fwL1"."""


class DurableLedger:
    """A ledger in the file ``path``, made (mode 0600) if it is not there; its folder must be.

    Raises :class:`InputError` if the file cannot be read or written, is no ledger of this format,
    has a second name (a hard link: SQLite keeps the latest entries beside the name), or belongs to
    a vault that still runs. Close it, or end the process, to give the file back.
    """

    def __init__(self, path: Path) -> None:
        # A link of the file's name must not lead to another lock.
        path = Path(os.path.realpath(path))
        self._path = path
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._owned = _own(path)
        try:
            self._file = _identity(path)
            self._engine = create_engine(
                URL.create("sqlite", database=str(path)),
                poolclass=StaticPool,
                connect_args={"check_same_thread": False},
            )
            listen(self._engine, "connect", _prepare)
            listen(self._engine, "begin", _begin)
            self._open()
            self._charges, self._counted = ChargeCounts(), 0
            with self._engine.begin() as connection:
                self._count_new(connection)
        except (DBAPIError, sqlite3.Error) as error:
            self.close()
            problem = error.orig if isinstance(error, DBAPIError) else error
            raise _unusable(path, f"cannot be used ({problem})") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back; the ledger is of no use afterwards."""
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.dispose()
        if self._owned >= 0:
            os.close(self._owned)
            self._owned = -1

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every entry so far, oldest first."""
        with self._lock, self._engine.connect() as connection:
            return tuple(entry for _, entry in self._entries_after(0, connection))

    def charged(self, study_digest: str) -> Mapping[Charge, int]:
        """How many entries of this study cost what, committed or not."""
        with self._lock, self._engine.connect() as connection:
            self._count_new(connection)
            return self._charges.of_study(study_digest)

    def answered(self, place: Place) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""
        with self._lock, self._engine.connect() as connection:
            return _is_there(place, connection)

    def reserve(self, entry: LedgerEntry, *, check: CheckCharges | None = None) -> None:
        """Put the entry on the disk: see :meth:`Ledger.reserve`.

        Raises :class:`InputError` if the file was moved, replaced or given a second name since.
        """
        refuse_fork(self._process)
        with self._lock, self._engine.begin() as connection:
            if _identity(self._path) != self._file:
                raise _unusable(self._path, "is not the file that was opened")
            if _is_there(entry.place, connection):
                raise AlreadyReservedError(entry.place)
            self._count_new(connection)
            if check is not None:
                check(self._charges.of_study(entry.study_digest))
            connection.execute(insert(ENTRIES).values(values_of(entry)))

    def commit(self, place: Place, *, release_digest: str) -> None:
        """Note the digest of the released bytes; KeyError if never reserved."""
        change = update(ENTRIES).where(*at(place)).values(release_digest=release_digest)
        with self._lock, self._engine.begin() as connection:
            if connection.execute(change).rowcount != 1:
                raise KeyError(place)

    def _count_new(self, connection: Connection) -> None:
        """Count what was added to the file, by whomever, since this ledger last looked."""
        for number, entry in self._entries_after(self._counted, connection):
            self._charges.add(entry)
            self._counted = number

    def _entries_after(
        self, number: int, connection: Connection
    ) -> Iterator[tuple[int, LedgerEntry]]:
        wanted = select(ENTRIES).where(ENTRIES.c.number > number).order_by(ENTRIES.c.number)
        try:
            for row in connection.execute(wanted).all():
                yield row.number, entry_of(row)
        except (TypeError, ValueError) as error:
            raise _unusable(self._path, f"holds an entry that is none ({error})") from error

    def _open(self) -> None:
        """Make an empty file a ledger, and any other file one that is checked."""
        with self._engine.begin() as connection:
            found, written = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("application_id", "user_version")
            )
            tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
            if (found, written, tables) == (0, 0, 0):
                METADATA.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
                connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT}")
                return
            if found != APPLICATION:
                raise _unusable(self._path, "is no ledger")
            if written != FORMAT:
                raise _unusable(self._path, f"is a ledger of format {written}, not {FORMAT}")
            damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if damage != "ok":
                raise _unusable(self._path, f"is damaged ({damage})")


def _own(path: Path) -> int:
    """Hold the ledger's lock for as long as the descriptor is open; make the file if need be."""
    # Not the file's own: SQLite loses its locks when any descriptor of its file is closed.
    beside = path.with_name(path.name + ".lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    owned = -1
    try:
        owned = os.open(beside, flags, 0o600)
        fcntl.flock(owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A ledger that is there is not opened, or closing it would undo the locks of another
        # connection of this process.
        if not path.exists():
            os.close(os.open(path, flags | os.O_EXCL, 0o600))
        path.chmod(0o600)
    except OSError as error:
        if owned >= 0:
            os.close(owned)
        if isinstance(error, BlockingIOError):
            raise InputError(
                source=str(path),
                field="",
                problem="is the ledger of a vault that still runs",
                fix="stop that vault, or use another ledger",
            ) from error
        raise _unusable(path, f"cannot be opened ({error.strerror})") from error
    return owned


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is, by device and number; :class:`InputError` if that has a second name."""
    try:
        found = path.stat()
    except OSError as error:
        raise _unusable(path, f"cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(path, "cannot be opened (it is no file)")
    if found.st_nlink > 1:
        raise _unusable(path, "has a second name, a hard link")
    return found.st_dev, found.st_ino


def _is_there(place: Place, connection: Connection) -> bool:
    return connection.execute(select(ENTRIES.c.number).where(*at(place))).first() is not None


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are ours, or Python would make tables outside of one.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _unusable(path: Path, problem: str) -> InputError:
    return InputError(
        source=str(path), field="", problem=problem, fix="give the vault another ledger"
    )
