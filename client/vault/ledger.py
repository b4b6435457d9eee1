"""The ledger's contract, and one that lives in memory for simulations.

Order of events for every release: ``reserve`` (the entry is durable and counts as spent) ->
compute -> ``commit`` with the digest of what was released. A reservation that was never committed
stays spent.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind

Place = tuple[str, int, int]
"""What a vault answers once: (run, round, attempt)."""


class Charge(NamedTuple):
    """What an entry costs: equal for equal sums, so that a ledger can count them."""

    kind: SumKind
    event: GaussianEvent | None
    event_alone: GaussianEvent | None


CheckCharges = Callable[[Mapping[Charge, int]], None]
"""Raises if an entry may not be added to these charges of its study."""


class AlreadyReservedError(ValueError):
    """A place that was reserved before."""

    def __init__(self, place: Place) -> None:
        super().__init__(f"already reserved: {place}")


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
    def place(self) -> Place:
        """Where in which run."""
        return (self.run_id, self.round, self.attempt)

    @property
    def charge(self) -> Charge:
        """What it costs."""
        return Charge(self.kind, self.event, self.event_alone)


class Ledger(Protocol):
    """What the gate needs of a ledger."""

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every entry so far, oldest first."""

    def charged(self, study_digest: str) -> Mapping[Charge, int]:
        """How many entries of this study cost what, committed or not."""

    def answered(self, place: Place) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""

    def reserve(self, entry: LedgerEntry, *, check: CheckCharges | None = None) -> None:
        """Make the entry durable, once ``check`` let it pass; None lets every entry pass.

        ``check`` is called with what :meth:`charged` gives for the entry's study, and nothing can
        be reserved between its call and the entry, by whatever thread or process. What it raises
        passes through, and nothing is reserved.

        Raises:
            AlreadyReservedError: its place was reserved before; ``check`` is not called.
            RuntimeError: the ledger was opened before this process was forked.
        """

    def commit(self, place: Place, *, release_digest: str) -> None:
        """Note what was released. Raises KeyError if the place was never reserved."""


class ChargeCounts:
    """How many entries cost what, by study. Not thread-safe."""

    def __init__(self, entries: Iterable[LedgerEntry] = ()) -> None:
        self._counts: dict[str, Counter[Charge]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: LedgerEntry) -> None:
        """Count one entry more."""
        self._counts.setdefault(entry.study_digest, Counter())[entry.charge] += 1

    def of_study(self, study_digest: str) -> Mapping[Charge, int]:
        """A copy of the counts of one study."""
        return dict(self._counts.get(study_digest, {}))


def refuse_fork(opened_by: int) -> None:
    """Raise RuntimeError in any process but ``opened_by``, whose budget it would spend again."""
    if os.getpid() != opened_by:
        raise RuntimeError("a ledger must not cross a fork; open it in the process that answers")


class MemoryLedger:
    """A ledger for simulations: forgets everything with its process."""

    def __init__(self, entries: Iterable[LedgerEntry] = ()) -> None:
        self._entries = {entry.place: entry for entry in entries}
        self._charges = ChargeCounts(self._entries.values())
        self._lock = threading.Lock()
        self._process = os.getpid()

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every entry so far, oldest first."""
        with self._lock:
            return tuple(self._entries.values())

    def charged(self, study_digest: str) -> Mapping[Charge, int]:
        """How many entries of this study cost what, committed or not."""
        with self._lock:
            return self._charges.of_study(study_digest)

    def answered(self, place: Place) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""
        return place in self._entries

    def reserve(self, entry: LedgerEntry, *, check: CheckCharges | None = None) -> None:
        """Keep the entry: see :meth:`Ledger.reserve`."""
        refuse_fork(self._process)
        with self._lock:
            if entry.place in self._entries:
                raise AlreadyReservedError(entry.place)
            if check is not None:
                check(self._charges.of_study(entry.study_digest))
            self._entries[entry.place] = entry
            self._charges.add(entry)

    def commit(self, place: Place, *, release_digest: str) -> None:
        """Note the digest of the released bytes; KeyError if never reserved."""
        with self._lock:
            self._entries[place] = replace(self._entries[place], release_digest=release_digest)
