"""The ledger's contract, and one that lives in memory for simulations.

Order of events for every release: ``reserve`` (the entry is durable and counts as spent) ->
compute -> ``commit`` with the digest of what was released. A reservation that was never committed
stays spent. A ledger that survives a restart is the site's business and comes with it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from fedward.client.vault.protection import SumKind
from fedward.common.privacy.events import GaussianEvent


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One release, reserved or committed, with the noise that it was charged for.

    ``event`` is charged under "at most ``colluding`` sites cheat", ``event_alone`` for this site's
    share of the noise alone. Both are None in a simulation's baseline without privacy.
    """

    run_id: str
    study_digest: str
    query_digest: str
    kind: SumKind
    round: int
    attempt: int
    event: GaussianEvent | None
    event_alone: GaussianEvent | None
    release_digest: str | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """What a vault answers once: (run, round, attempt)."""
        return (self.run_id, self.round, self.attempt)


class Ledger(Protocol):
    """What the gate needs of a ledger."""

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every entry so far, oldest first."""

    def answered(self, place: tuple[str, int, int]) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""

    def reserve(self, entry: LedgerEntry) -> None:
        """Make the entry durable. Raises ValueError if its place was reserved before."""

    def commit(self, place: tuple[str, int, int], *, release_digest: str) -> None:
        """Note what was released. Raises KeyError if the place was never reserved."""


class MemoryLedger:
    """A ledger for simulations: forgets everything with its process."""

    def __init__(self, entries: Iterable[LedgerEntry] = ()) -> None:
        self._entries = {entry.place: entry for entry in entries}
        self._lock = threading.Lock()

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every entry so far, oldest first."""
        with self._lock:
            return tuple(self._entries.values())

    def answered(self, place: tuple[str, int, int]) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""
        return place in self._entries

    def reserve(self, entry: LedgerEntry) -> None:
        """Keep the entry; ValueError if its place was reserved before."""
        with self._lock:
            if entry.place in self._entries:
                raise ValueError(f"already reserved: {entry.place}")
            self._entries[entry.place] = entry

    def commit(self, place: tuple[str, int, int], *, release_digest: str) -> None:
        """Note the digest of the released bytes; KeyError if never reserved."""
        with self._lock:
            self._entries[place] = replace(self._entries[place], release_digest=release_digest)
