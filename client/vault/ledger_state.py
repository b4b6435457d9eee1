"""What the entries of a site's ledger add up to, and whether each may follow those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fedward.client.vault.charges import ChargeCounts
from fedward.client.vault.cohort_budget import CohortBudget, charged_cohorts
from fedward.client.vault.ledger import LedgerEntry, Place
from fedward.common.ledger.chain import SignedEntry
from fedward.common.ledger.entries import (
    NOTHING_BEFORE,
    BalanceStruck,
    BudgetRaised,
    ChargedEvent,
    CohortDeclared,
    Entry,
    HeadCountersigned,
    LedgerOpened,
    ReleaseAbandoned,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.ledger.heads import LedgerPosition
from fedward.common.privacy.events import GaussianEvent

START_OF_TIME = "0000-01-01T00:00:00Z"


class LedgerState:
    """Grows by one entry after another. Not thread-safe.

    ``releases`` are those reserved, by place, oldest first; ``budgets`` the effective ones of the
    cohorts; ``seen`` up to where each coordinator (by its key) has counter-signed the ledger. What
    repeats what is known, countersignatures and balances, is noted only when there is news.
    """

    def __init__(self, *, site: str, identity_key: bytes) -> None:
        self._site = site
        self._identity_key = identity_key
        self._digests: list[str] = []
        self._reserved: dict[int, Place] = {}
        self._open: dict[Place, int] = {}
        self.ledger_id = ""
        self.time = START_OF_TIME
        self.releases: dict[Place, LedgerEntry] = {}
        self.budgets: dict[str, CohortBudget] = {}
        self.charges = ChargeCounts(budgets=self.budgets)
        self.seen: dict[str, int] = {}
        # How many entries, up to each, are more than countersignatures and balances.
        self._news: list[int] = []
        self._charged_at: dict[str, int] = {}
        self._balanced_at: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        """How many entries there are, which is the number of the next one."""
        return len(self._digests)

    @property
    def last_digest(self) -> str:
        """What the next entry names as its predecessor."""
        return self._digests[-1] if self._digests else NOTHING_BEFORE

    def digest_at(self, sequence: int) -> str | None:
        """The digest of one entry; None if there is none of that number."""
        return self._digests[sequence] if 0 <= sequence < len(self._digests) else None

    def position(self) -> LedgerPosition:
        """The last entry."""
        return LedgerPosition(sequence=len(self) - 1, digest=self.last_digest)

    def places(self) -> dict[Place, int]:
        """Which entry reserved which place."""
        return {place: sequence for sequence, place in self._reserved.items()}

    def has_news(self, *, after: int, to: int) -> bool:
        """Whether an entry with a number above ``after``, up to ``to``, repeats nothing known.

        ``after`` may be -1; ``to`` is the number of an entry.
        """
        return to > after and self._news[to] > (self._news[after] if after >= 0 else 0)

    def unbalanced(self, study_digest: str) -> dict[str, CohortBudget]:
        """The budgets, by cohort, of those charged since this study's last balance of them."""
        return {
            name: budget
            for name, budget in self.budgets.items()
            if self._charged_at.get(name, -1) > self._balanced_at.get((study_digest, name), -1)
        }

    def reservation(self, place: Place) -> int:
        """The number of the reservation at ``place``, which nothing has become of yet.

        Raises:
            KeyError: the place was never reserved.
            ValueError: it was committed or abandoned.
        """
        if place not in self.releases:
            raise KeyError(place)
        if place not in self._open:
            raise ValueError(f"committed or abandoned before: {place}")
        return self._open[place]

    def add(self, signed: SignedEntry, *, row: int) -> None:
        """Take the next entry, which the file numbers ``row``; ValueError says why it may not."""
        entry = signed.entry
        if not row == entry.sequence == len(self):
            raise ValueError(f"is missing: entry {entry.sequence} follows in row {row}")
        if entry.previous != self.last_digest:
            raise ValueError("does not follow the entry before it")
        if entry.time < self.time:
            raise ValueError("is dated before the entry ahead of it")
        digest = signed.verified_digest(self._identity_key)
        if digest is None:
            raise ValueError("is not signed by this site's identity")
        if isinstance(entry, LedgerOpened) != (not self._digests):
            raise ValueError("is not where a ledger is opened")
        self._take(entry)
        self._digests.append(digest)
        news = not isinstance(entry, HeadCountersigned | BalanceStruck)
        self._news.append((self._news[-1] if self._news else 0) + news)
        self.time = entry.time

    def _take(self, entry: Entry) -> None:
        match entry:
            case LedgerOpened():
                self._take_opening(entry)
            case CohortDeclared() | BudgetRaised():
                self._take_budget(entry)
            case ReleaseReserved():
                self._take_reservation(entry)
            case ReleaseCommitted():
                place = self._closed(entry.of)
                self.releases[place] = replace(
                    self.releases[place], release_digest=entry.release_digest
                )
            case ReleaseAbandoned():
                self._closed(entry.of)
            case HeadCountersigned():
                if entry.head_digest != self.digest_at(entry.head_sequence):
                    raise ValueError("counter-signs a head that is not this ledger's")
                seen = self.seen.get(entry.coordinator_key, -1)
                self.seen[entry.coordinator_key] = max(seen, entry.head_sequence)
            case BalanceStruck():
                self._balanced_at[entry.study_digest, entry.cohort] = entry.sequence

    def _take_opening(self, entry: LedgerOpened) -> None:
        if entry.site != self._site:
            raise ValueError(f"opens the ledger of {entry.site}, not of {self._site}")
        if entry.identity_key != self._identity_key.hex():
            raise ValueError("opens the ledger of another identity")
        self.ledger_id = entry.ledger_id

    def _take_budget(self, entry: CohortDeclared | BudgetRaised) -> None:
        if isinstance(entry, CohortDeclared):
            self.budgets[entry.cohort] = CohortBudget(
                name=entry.cohort,
                delta=entry.delta,
                epsilon_cap=entry.epsilon_cap,
                epsilon_alone_cap=entry.epsilon_alone_cap,
                shares_patients_with=entry.shares_patients_with,
            )
            # Patients that turn out to be shared were shared all along.
            self._charged_at |= dict.fromkeys(self.budgets, entry.sequence)
            self.charges = ChargeCounts(
                (with_all_cohorts(release, self.budgets) for release in self.releases.values()),
                budgets=self.budgets,
            )
        elif entry.cohort not in self.budgets:
            raise ValueError(f"raises the budget of an unknown cohort {entry.cohort}")
        else:
            self.budgets[entry.cohort] = replace(
                self.budgets[entry.cohort],
                epsilon_cap=entry.epsilon_cap,
                epsilon_alone_cap=entry.epsilon_alone_cap,
            )

    def _take_reservation(self, entry: ReleaseReserved) -> None:
        release = release_of(entry)
        if release.place in self.releases:
            raise ValueError(f"reserves {release.place} again")
        self.releases[release.place] = release
        self._reserved[entry.sequence] = release.place
        self._open[release.place] = entry.sequence
        charged = with_all_cohorts(release, self.budgets)
        self.charges.add(charged)
        self._charged_at |= dict.fromkeys(charged.cohorts, entry.sequence)

    def _closed(self, reserved: int) -> Place:
        place = self._reserved.get(reserved)
        if place is None or self._open.pop(place, None) is None:
            raise ValueError(f"closes entry {reserved}, which is no open reservation")
        return place


def release_of(entry: ReleaseReserved) -> LedgerEntry:
    """The release of its reservation, not committed."""
    return LedgerEntry(
        run_id=entry.run_id,
        study_digest=entry.study_digest,
        study_name=entry.study_name,
        query_digest=entry.query_digest,
        kind=entry.sum,
        round=entry.round,
        attempt=entry.attempt,
        sites=entry.sites,
        delta=entry.delta,
        holdout=entry.holdout,
        cohorts=entry.cohorts,
        event=_event(entry.event),
        event_alone=_event(entry.event_alone),
    )


def with_all_cohorts(release: LedgerEntry, budgets: Mapping[str, CohortBudget]) -> LedgerEntry:
    """The release with every cohort that it counts against under these budgets.

    They are those that it was charged to, and those that were declared later on to share patients
    with the one that was asked.
    """
    asked, *others = release.cohorts
    found = {*others, *charged_cohorts(asked, budgets)} - {asked}
    return replace(release, cohorts=(asked, *sorted(found)))


def _event(charged: ChargedEvent | None) -> GaussianEvent | None:
    return charged.event() if charged is not None else None
