"""A file that one process at a time owns, and that must stay the file that it is."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from fedward.client.vault.chain_witness import ChainWitness
from fedward.client.vault.ledger import LedgerUnavailable
from fedward.client.vault.ledger_limits import LOCK_ENDING

Identity = tuple[int, int]


class OwnedFile:
    """Holds the lock of ``path`` until :meth:`close`; makes the file (mode 0600) if need be.

    The lock lies beside the file, and in it the ``witness`` of which ledger was in the file and how
    far it went, so that one that lost entries is not mistaken for a shorter or a new one.

    Raises :class:`LedgerUnavailable` if another process owns it, if it cannot be opened, is no
    file, or has a second name (a hard link: SQLite keeps the latest entries beside the name).
    """

    def __init__(self, path: Path) -> None:
        # A link of the file's name must not lead to another lock.
        self.path = Path(os.path.realpath(path))
        self._lock = _locked(self.path)
        try:
            self._identity = self._found(self.path)
            self._size = 0
            self._log: Identity | None = None
            self.witness = ChainWitness(self._lock)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise _not_opened(self.path, error.strerror) from error
            raise

    def close(self) -> None:
        """Give the file back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def check(self) -> None:
        """Raise :class:`LedgerUnavailable` if it is no longer the file that was opened.

        That is if it, or SQLite's log of the latest entries, was replaced, moved, cut off or given
        a second name, or if the file was closed.
        """
        if self._lock < 0:
            raise self.unusable("was closed", fix="open it again")
        if self._found(self.path) != self._identity:
            raise self.unusable("is not the file that was opened", fix="start the vault again")
        size = self.path.stat().st_size
        if size < self._size:
            raise self.unusable("was cut off", fix="restore its latest copy")
        self._size = size
        log = self.path.with_name(self.path.name + "-wal")
        if self._log is None:
            self._log = self._found(log) if log.exists() else None
        elif self._found(log) != self._log:
            raise self.unusable("lost its log, a file beside it", fix="start the vault again")

    def unusable(self, problem: str, *, fix: str, field: str = "") -> LedgerUnavailable:
        """The error that names this file."""
        return LedgerUnavailable(source=str(self.path), field=field, problem=problem, fix=fix)

    def _found(self, path: Path) -> Identity:
        """Which file it is, by device and number."""
        try:
            found = path.stat()
        except OSError as error:
            raise _not_opened(path, error.strerror) from error
        if not stat.S_ISREG(found.st_mode):
            raise _not_opened(path, "it is no file")
        if found.st_nlink > 1:
            raise self.unusable("has a second name, a hard link", fix="remove the other name")
        return found.st_dev, found.st_ino


def _locked(path: Path) -> int:
    # Not the file's own: SQLite loses its locks when any descriptor of its file is closed.
    beside = path.with_name(path.name + LOCK_ENDING)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    lock = -1
    try:
        # Before anything is made or changed: a folder would lose its mode.
        if path.exists() and not path.is_file():
            raise _not_opened(path, "it is no file")
        lock = os.open(beside, flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A ledger that is there is not opened, or closing it would undo the locks of another
        # connection of this process.
        if not path.exists():
            os.close(os.open(path, flags | os.O_EXCL, 0o600))
        path.chmod(0o600)
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        if isinstance(error, BlockingIOError):
            raise LedgerUnavailable(
                source=str(path),
                field="",
                problem="is the ledger of a vault that still runs",
                fix="stop that vault, or use another ledger",
            ) from error
        raise _not_opened(path, error.strerror) from error
    return lock


def _not_opened(path: Path, reason: str | None) -> LedgerUnavailable:
    return LedgerUnavailable(
        source=str(path),
        field="",
        problem=f"cannot be opened ({reason})",
        fix="check the path and its permissions",
    )
