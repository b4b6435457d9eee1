"""A ledger on the site's disk: what was reserved stays spent through crashes and restarts.

A reservation is on the disk before the records are read. What counts is the chain of signed
entries, which is verified as a whole when the file is opened; what was charged follows from it. One
vault at a time owns the file, for two that answer from one budget would overspend it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from fedward.client.vault.balances import balances
from fedward.client.vault.budget_changes import new_declarations, raised
from fedward.client.vault.charges import ChargeCounts, Charged
from fedward.client.vault.cohort_budget import CohortBudget, charged_cohorts
from fedward.client.vault.ledger import AlreadyReservedError, CheckCharges, LedgerEntry, Place
from fedward.client.vault.ledger_drafts import (
    countersignature_of,
    declaration_of,
    reservation_of,
)
from fedward.client.vault.ledger_state import with_all_cohorts
from fedward.client.vault.stored_chain import StoredChain
from fedward.common.errors import InputError
from fedward.common.ledger.entries import BudgetRaised, ReleaseAbandoned, ReleaseCommitted
from fedward.common.ledger.heads import KnownHead, LedgerHead, LedgerPosition
from fedward.common.secure_sum.signatures import SiteIdentity


def utc_now() -> datetime:
    """What the site's clock shows."""
    return datetime.now(UTC)


class DurableLedger:
    """The ledger of ``site`` in the file ``path``, made (mode 0600) if it is not there.

    Every entry is signed by ``identity``. ``cohorts`` are the budgets in the site's settings: new
    ones are declared, lowered caps and added overlaps are declared again, anything else that
    differs from the ledger is refused; None leaves the budgets as they are. ``clock`` gives the
    time in UTC; a clock that goes back is noted in the entries and stops nothing.

    Raises :class:`InputError` if the file cannot be read or written, is no ledger of this format,
    site and identity, holds an entry that does not verify (which it names), has a second name, or
    belongs to a vault that still runs; once it is open, every method raises
    :class:`LedgerUnavailable` for what goes wrong with the file. Close it, or end the process, to
    give the file back.
    """

    def __init__(
        self,
        path: Path,
        *,
        site: str,
        identity: SiteIdentity,
        cohorts: Sequence[CohortBudget] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._site = site
        self._identity = identity
        self._chain = StoredChain(path, site=site, identity=identity, clock=clock)
        self._state = self._chain.state
        try:
            self._declare(cohorts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back; the ledger is of no use afterwards."""
        self._chain.close()

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every release so far, oldest first."""
        with self._chain.transaction():
            return tuple(self._state.releases.values())

    def charged(self) -> Charged:
        """What all entries cost, committed or not; a copy.

        A release counts against cohorts too that were declared after it to share its patients.
        """
        with self._chain.transaction():
            releases, budgets = tuple(self._state.releases.values()), dict(self._state.budgets)
        counted = (with_all_cohorts(release, budgets) for release in releases)
        return ChargeCounts(counted, budgets=budgets)

    def budgets(self) -> Mapping[str, CohortBudget]:
        """The effective budgets of all cohorts, by name."""
        with self._chain.transaction():
            return dict(self._state.budgets)

    def answered(self, place: Place) -> bool:
        """Whether this (run, round, attempt) was reserved before, committed or not."""
        with self._chain.transaction():
            return place in self._state.releases

    def reserve(self, entry: LedgerEntry, *, check: CheckCharges | None = None) -> LedgerHead:
        """Put the entry on the disk: see :meth:`Ledger.reserve`.

        ``check`` is given the ledger's own budgets too. Raises ValueError if the entry does not
        charge all cohorts that the ledger declares to share patients with the one that was asked.
        """
        # What a reservation costs by itself may take a second to compute, once for each event.
        draft = reservation_of(entry)
        with self._chain.transaction() as connection:
            if entry.place in self._state.releases:
                raise AlreadyReservedError(entry.place)
            if check is not None:
                check(self._state.charges)
            _refuse_wrong_cohorts(entry, self._state.budgets)
            position = self._chain.append(connection, draft, place=entry.place)
        # Signed once it is on the disk: a head of an entry that is lost would accuse this site.
        return self._head_at(position)

    def commit(self, place: Place, *, release_digest: str) -> None:
        """Note the digest of the released bytes: see :meth:`Ledger.commit`."""
        with self._chain.transaction() as connection:
            reserved = self._state.reservation(place)
            self._chain.append(
                connection, partial(ReleaseCommitted, of=reserved, release_digest=release_digest)
            )

    def abandon(self, place: Place, *, reason: str) -> None:
        """Note that nothing was released: see :meth:`Ledger.abandon`."""
        with self._chain.transaction() as connection:
            reserved = self._state.reservation(place)
            self._chain.append(connection, partial(ReleaseAbandoned, of=reserved, reason=reason))

    def raise_budget(
        self,
        cohort: str,
        *,
        epsilon_cap: float | None,
        epsilon_alone_cap: float | None,
        reason: str,
    ) -> CohortBudget:
        """Raise at least one cap of a cohort, lower none, and say why; the new budget.

        Raises :class:`InputError` for an unknown cohort or for caps that are not higher.
        """
        with self._chain.transaction() as connection:
            if cohort not in self._state.budgets:
                raise InputError(
                    source=str(self._chain.path),
                    field=f"cohort {cohort}",
                    problem="has no budget in this ledger",
                    fix="name one that has, or add it to the site's settings",
                )
            budget = raised(
                self._state.budgets[cohort],
                epsilon_cap=epsilon_cap,
                epsilon_alone_cap=epsilon_alone_cap,
                source=str(self._chain.path),
            )
            draft = partial(
                BudgetRaised,
                cohort=cohort,
                epsilon_cap=epsilon_cap,
                epsilon_alone_cap=epsilon_alone_cap,
                reason=reason,
            )
            self._chain.append(connection, draft)
            return budget

    def head(self) -> LedgerHead:
        """How far the ledger goes, signed."""
        with self._chain.transaction():
            last = self._state.position()
        return self._head_at(last)

    def holds(self, head: LedgerHead) -> bool:
        """Whether ``head`` was once this ledger's own: False if it was rolled back since."""
        with self._chain.transaction():
            found = self._state.digest_at(head.sequence)
        return (
            (head.site, head.ledger_id) == (self._site, self._state.ledger_id)
            and head.digest == found
            and head.is_signed_by(self._identity.public_key)
        )

    def countersigned(self, known: KnownHead) -> None:
        """Note what a coordinator has seen: see :meth:`Ledger.countersigned`."""
        if known.coordinator_key is None:
            return
        if not self.holds(known.head):
            raise ValueError("no head of this ledger was counter-signed")
        draft = countersignature_of(known)
        with self._chain.transaction() as connection:
            seen = self._state.seen.get(known.coordinator_key, -1)
            if self._state.has_news(after=seen, to=known.head.sequence):
                self._chain.append(connection, draft)

    def strike_balance(self, study_digest: str) -> None:
        """Write down what each of the study's cohorts has spent so far, by itself and in all.

        Only cohorts with a budget have a delta to give it at. Nothing is written for releases
        without noise, which have no epsilon, nor for a cohort that was charged nothing since.
        """
        with self._chain.transaction():
            due = self._state.unbalanced(study_digest)
        if not due:
            return
        # Computed twice: this time to have it at hand when no entry can be added in between.
        balances(study_digest, charged=self.charged(), releases=self.entries(), budgets=due)
        with self._chain.transaction() as connection:
            state = self._state
            drafts = balances(
                study_digest,
                charged=state.charges,
                releases=state.releases.values(),
                budgets=state.unbalanced(study_digest),
            )
            self._chain.append(connection, *drafts)

    def _head_at(self, position: LedgerPosition) -> LedgerHead:
        return LedgerHead.sign(
            self._identity,
            site=self._site,
            ledger_id=self._state.ledger_id,
            sequence=position.sequence,
            digest=position.digest,
        )

    def _declare(self, cohorts: Sequence[CohortBudget] | None) -> None:
        if cohorts is None:
            return
        with self._chain.transaction() as connection:
            changed = new_declarations(
                cohorts, effective=self._state.budgets, source=str(self._chain.path)
            )
            self._chain.append(connection, *map(declaration_of, changed))


def _refuse_wrong_cohorts(entry: LedgerEntry, budgets: Mapping[str, CohortBudget]) -> None:
    if not budgets:
        return
    asked = entry.cohorts[0]
    if asked not in budgets:
        raise ValueError(f"cohort {asked} has no budget in this ledger")
    # The site's policy may know of more that share its patients.
    missing = sorted(set(charged_cohorts(asked, budgets)).difference(entry.cohorts))
    if missing:
        raise ValueError(f"cohort {asked} shares its patients with {missing[0]}, not charged")
