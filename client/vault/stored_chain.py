"""The chain of a ledger in its file: verified as it is read, signed as it is written.

SQLite in WAL mode with ``synchronous=FULL``: what a transaction added is on the disk when it ends.
One process at a time owns the file. A lock says so early; that it holds is not relied on, as every
transaction takes SQLite's own lock, and reads and verifies what was added since the last one. A
witness beside the file says how far the chain went; a shorter one is not opened.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from fedward.client.vault.chain_witness import Witnessed
from fedward.client.vault.ledger import LedgerUnavailable, Place, refuse_fork
from fedward.client.vault.ledger_database import engine_for, make_or_check
from fedward.client.vault.ledger_drafts import Draft, opening_of, stamped
from fedward.client.vault.ledger_limits import LOCK_ENDING
from fedward.client.vault.ledger_rows import entries_from, insert_entry, insert_place, places_of
from fedward.client.vault.ledger_state import LedgerState
from fedward.client.vault.owned_file import OwnedFile
from fedward.common.ledger.chain import SignedEntry, signed
from fedward.common.ledger.export import reason_of
from fedward.common.ledger.heads import LedgerPosition
from fedward.common.secure_sum.signatures import SiteIdentity

_RESTORE = "restore its latest copy, and keep this one for the audit"


class StoredChain:
    """The chain of ``site`` in the file ``path``, made and opened if it is not there.

    ``state`` is what its entries add up to: what is on the disk, as a transaction finds it. Raises
    :class:`LedgerUnavailable` if the file cannot be used or an entry, which it names, does not
    verify.
    """

    def __init__(
        self, path: Path, *, site: str, identity: SiteIdentity, clock: Callable[[], datetime]
    ) -> None:
        self.state = LedgerState(site=site, identity_key=identity.public_key)
        self._identity = identity
        self._clock = clock
        self._added: list[SignedEntry] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._file = OwnedFile(path)
        self._engine = engine_for(self._file.path)
        try:
            self._open(opening_of(site=site, identity=identity))
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The file, links followed."""
        return self._file.path

    def close(self) -> None:
        """Give the file back; no transaction begins afterwards."""
        self._engine.dispose()
        self._file.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One at a time, for all threads and processes; ``state`` is up to date within it.

        What is added is on the disk, and witnessed there, once it has ended without an exception,
        and is nowhere if it ended with one, except that a disk that fails while it ends may have
        kept it.

        Raises:
            LedgerUnavailable: the file cannot be read or written, or is not what it was.
            RuntimeError: the chain was opened before this process was forked.
        """
        refuse_fork(self._process)
        with self._lock, self._failing_clearly():
            self._file.check()
            self._added = []
            with self._engine.begin() as connection:
                self._catch_up(connection)
                yield connection
            for link in self._added:
                self.state.add(link, row=link.entry.sequence)
            if self._added:
                self._file.witness.remember(self._witnessed())

    def append(
        self, connection: Connection, *drafts: Draft, place: Place | None = None
    ) -> LedgerPosition:
        """Add entries within a transaction, the last of which takes ``place``; where that is."""
        sequence, previous = len(self.state), self.state.last_digest
        time = self.state.time
        for draft in drafts:
            entry = stamped(
                draft, sequence=sequence, previous=previous, now=self._clock(), after=time
            )
            link = signed(entry, self._identity)
            try:
                insert_entry(connection, link)
            except ValueError as error:
                raise self._file.unusable(str(error), fix="make it shorter") from error
            self._added.append(link)
            sequence, previous, time = sequence + 1, link.digest, entry.time
        if place is not None:
            insert_place(connection, place, sequence - 1)
        return LedgerPosition(sequence=sequence - 1, digest=previous)

    def _open(self, opening: Draft) -> None:
        with self._failing_clearly(), self._engine.begin() as connection:
            if make_or_check(connection, self._file):
                self.append(connection, opening)
            self._catch_up(connection)
            known = self._file.witness.last
            if known is not None and known.ledger_id != self.state.ledger_id:
                raise self._unusable("is not the ledger that was here")
            if not len(self.state):
                raise self._unusable("has lost its entries")
            if places_of(connection) != self.state.places():
                raise self._unusable("has an index that its entries contradict")
            self._refuse_step_back()
        with self.transaction():
            self._file.witness.remember(self._witnessed())

    def _witnessed(self) -> Witnessed:
        return Witnessed(ledger_id=self.state.ledger_id, position=self.state.position())

    def _refuse_step_back(self) -> None:
        """Refuse a chain that does not hold the entry that was witnessed last."""
        witness = self._file.witness
        # The first write of all may have been torn; then nothing but the opening was ever there.
        if witness.damaged and len(self.state) > 1:
            raise self._file.unusable(
                f"has a {LOCK_ENDING} file beside it, which knows how far it goes, that is damaged",
                fix="see that this is its newest copy, and only then remove that file",
            )
        known = witness.last
        if known is None:
            return
        number, digest = known.position.sequence, known.position.digest
        if self.state.digest_at(number) != digest:
            raise self._file.unusable(
                f"lacks entry {number}, which was written before: it is an older copy, or lost the "
                "-wal file beside it",
                fix="restore the newest copy of both, and keep this one for the audit",
            )

    def _catch_up(self, connection: Connection) -> None:
        """Verify and count what was added to the chain, by whomever, since the last look."""
        number = max(0, len(self.state) - 1)
        found = entries_from(connection, number)
        try:
            if len(self.state):
                # The file may have been overwritten since, with an older copy of itself.
                last = next(found, None)
                if last is None or last[1].digest != self.state.last_digest:
                    raise ValueError("is not the one that was written there")
                number += 1
            for row, entry in found:
                self.state.add(entry, row=row)
                number += 1
        except ValueError as error:
            raise self._unusable(reason_of(error), field=f"entry {number}") from error

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            problem = getattr(error, "orig", None) or error
            raise self._file.unusable(
                f"cannot be used ({problem})",
                fix="see that it can be written and its disk is not full, or " + _RESTORE,
            ) from error

    def _unusable(self, problem: str, *, field: str = "") -> LedgerUnavailable:
        return self._file.unusable(problem, fix=_RESTORE, field=field)
