"""The ledger's contract, and one that lives in memory for simulations.

Order of events for every release: ``reserve`` (the entry is durable and counts as spent) ->
compute -> ``commit`` with the digest of what was released, or ``abandon``. A reservation that was
never committed stays spent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fedward.client.vault.charges import Charge, ChargeCounts, Charged
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind

Place = tuple[str, int, int]
"""What a vault answers once: (run, round, attempt)."""
CheckCharges = Callable[[Charged], None]
"""Raises if an entry may not be added to what is charged; that is valid during the call only."""


class AlreadyReservedError(ValueError):
    """A place that was reserved before."""

    def __init__(self, place: Place) -> None:
        super().__init__(f"already reserved: {place}")


class LedgerUnavailable(InputError):
    """A ledger that cannot be read or written just now, or no longer; nothing may leave."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One release, reserved or committed, with the noise that it was charged for.

    ``event`` is charged under "at most ``colluding`` sites cheat", ``event_alone`` for this site's
    share of the noise alone. Both are None in a simulation's baseline without privacy. ``delta`` is
    the study's, ``holdout`` the share of the patients that it holds out, and ``sites`` how many
    were in the sum's roster. ``cohorts`` are those charged: first the one whose patients were
    asked, then those that share patients with it, sorted.
    """

    run_id: str
    study_digest: str
    study_name: str
    query_digest: str
    kind: SumKind
    round: int
    attempt: int
    sites: int
    delta: float
    holdout: float
    cohorts: tuple[str, ...]
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
    """What the gate and the vault need of a ledger.

    Every method raises :class:`LedgerUnavailable` if the ledger cannot be read or written, and
    every writing one RuntimeError if it was opened before this process was forked.
    """

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every release so far, oldest first."""

    def charged(self) -> Charged:
        """What all entries cost, committed or not; a copy."""

    def budgets(self) -> Mapping[str, CohortBudget]:
        """The effective budgets that the ledger itself declares, by cohort; none if it does not."""

    def answered(self, place: Place) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""

    def reserve(
        self, entry: LedgerEntry, *, check: CheckCharges | None = None
    ) -> LedgerHead | None:
        """Make the entry durable, once ``check`` let it pass; None lets every entry pass.

        Returns the ledger's head as it ended with this entry; None if the ledger has no chain.

        ``check`` is called with what is charged so far, and nothing can be reserved between its
        call and the entry, by whatever thread or process. What it raises passes through, and
        nothing is reserved.

        Raises:
            AlreadyReservedError: its place was reserved before; ``check`` is not called.
        """

    def commit(self, place: Place, *, release_digest: str) -> None:
        """Note what was released, before it leaves.

        Raises:
            KeyError: the place was never reserved.
            ValueError: it was committed or abandoned before.
        """

    def abandon(self, place: Place, *, reason: str) -> None:
        """Note that a reservation came to nothing; it stays spent. Raises what commit does."""

    def head(self) -> LedgerHead | None:
        """How far the ledger goes, signed; None if it has no chain."""

    def holds(self, head: LedgerHead) -> bool:
        """Whether ``head`` was once this ledger's own: False if it was rolled back since."""

    def countersigned(self, known: KnownHead) -> None:
        """Note that a coordinator has seen the ledger up to there, if that is news.

        It is not if all since its last one is such notes and balances.

        Nothing is noted of a coordinator without a key, nor by a ledger without a chain.

        Raises:
            ValueError: it is no head of this ledger, or its countersignature does not verify.
        """

    def strike_balance(self, study_digest: str) -> None:
        """Write down what each of the study's cohorts has spent so far, if that is more."""


def refuse_fork(opened_by: int) -> None:
    """Raise RuntimeError in any process but ``opened_by``, whose budget it would spend again."""
    if os.getpid() != opened_by:
        raise RuntimeError("a ledger must not cross a fork; open it in the process that answers")


class MemoryLedger:
    """A ledger for simulations: no chain, no signatures, and forgotten with its process."""

    def __init__(self, entries: Iterable[LedgerEntry] = ()) -> None:
        self._entries = {entry.place: entry for entry in entries}
        self._closed = {place for place, entry in self._entries.items() if entry.release_digest}
        self._charges = ChargeCounts(self._entries.values())
        self._lock = threading.Lock()
        self._process = os.getpid()

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every release so far, oldest first."""
        with self._lock:
            return tuple(self._entries.values())

    def charged(self) -> Charged:
        """What all entries cost, committed or not; a copy."""
        return ChargeCounts(self.entries())

    def budgets(self) -> Mapping[str, CohortBudget]:
        """None: they are its site's policy alone."""
        return {}

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
                check(self._charges)
            self._entries[entry.place] = entry
            self._charges.add(entry)

    def commit(self, place: Place, *, release_digest: str) -> None:
        """Note the digest of the released bytes: see :meth:`Ledger.commit`."""
        self._close(place, release_digest=release_digest)

    def abandon(self, place: Place, *, reason: str) -> None:  # noqa: ARG002
        """Note that nothing was released: see :meth:`Ledger.abandon`."""
        self._close(place, release_digest=None)

    def _close(self, place: Place, *, release_digest: str | None) -> None:
        refuse_fork(self._process)
        with self._lock:
            entry = self._entries[place]
            if place in self._closed:
                raise ValueError(f"committed or abandoned before: {place}")
            self._closed.add(place)
            self._entries[place] = replace(entry, release_digest=release_digest)

    def head(self) -> None:
        """None: there is no chain."""

    def holds(self, head: LedgerHead) -> bool:  # noqa: ARG002
        """Never: there is no chain."""
        return False

    def countersigned(self, known: KnownHead) -> None:
        """Note nothing: there is no chain."""

    def strike_balance(self, study_digest: str) -> None:
        """Note nothing: there is no chain."""
