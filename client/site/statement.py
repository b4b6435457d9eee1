"""What a site's ledger says was spent of each cohort's budget, by study."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fedward.client.vault.charges import ChargeCounts, CohortCharges, study_charges
from fedward.client.vault.cohort_budget import CohortBudget, charged_cohorts
from fedward.client.vault.ledger import LedgerEntry, Place
from fedward.client.vault.ledger_state import LedgerState, with_all_cohorts
from fedward.client.vault.verified_ledger import verified_chain
from fedward.common.ledger.chain import SignedEntry
from fedward.common.ledger.entries import ReleaseAbandoned, ReleaseCommitted, ReleaseReserved
from fedward.common.privacy.cohort_spending import worst_patient_epsilon


class _Statement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Epsilons(_Statement):
    """Both epsilons of any one patient, rounded up to 1e-4; None if a release had no noise."""

    epsilon: float | None
    epsilon_alone: float | None


class StudyStatement(_Statement):
    """What one study released over a cohort, at the study's own ``delta``."""

    study_digest: str
    study_name: str
    delta: float
    releases: int
    not_committed: int
    spent: Epsilons
    first: str
    last: str


class CohortStatement(_Statement):
    """A cohort's budget, at its own ``delta``, and where it stands.

    ``spent`` is what all releases cost that were committed, or given up for good; ``reserved`` what
    those add that were neither, and ``left`` what then remains below the caps: None without a cap,
    and 0 where a cap was lowered below what was spent. ``used`` is the part of a cap that is spent
    or reserved, 1 for a cap of 0. ``shares_patients_with`` holds in both directions.
    """

    cohort: str
    delta: float
    caps: Epsilons
    spent: Epsilons
    reserved: Epsilons
    left: Epsilons
    used: Epsilons
    shares_patients_with: tuple[str, ...]
    studies: tuple[StudyStatement, ...]


class Statement(_Statement):
    """A whole ledger's: every entry and signature of it was checked.

    ``open_releases`` were reserved and neither committed nor given up, ``abandoned`` given up.
    ``seconds_behind`` is the furthest that the clock went back.
    """

    format: Literal[1] = 1
    site: str
    ledger_id: str
    entries: int
    last_entry: str
    open_releases: int
    abandoned: int
    seconds_behind: int
    cohorts: tuple[CohortStatement, ...]


def statement_of(path: Path, *, site: str, identity_key: bytes) -> Statement:
    """Read a ledger's file, verify it, and add it up; a vault may go on using it meanwhile.

    Raises:
        InputError: it cannot be read, is not this site's under this key (32 bytes), or an entry
            does not verify.
        PrivacyRefusal: a cohort's delta is one that no epsilon can be computed at.
    """
    chain, state = verified_chain(path, site=site, identity_key=identity_key)
    book = _Book(chain, state)
    return Statement(
        site=site,
        ledger_id=state.ledger_id,
        entries=len(chain),
        last_entry=state.time,
        open_releases=len(book.open_places),
        abandoned=book.abandoned,
        seconds_behind=max(signed.entry.behind for signed in chain),
        cohorts=tuple(map(book.cohort, book.budgets())),
    )


class _Book:
    """The releases of a verified chain, with when they were made and what became of them."""

    def __init__(self, chain: Iterable[SignedEntry], state: LedgerState) -> None:
        self._budgets = state.budgets
        self._times: dict[Place, str] = {}
        reserved: dict[int, Place] = {}
        self.abandoned = 0
        for entry in (signed.entry for signed in chain):
            match entry:
                case ReleaseReserved():
                    place = (entry.run_id, entry.round, entry.attempt)
                    reserved[entry.sequence] = place
                    self._times[place] = entry.time
                case ReleaseCommitted():
                    del reserved[entry.of]
                case ReleaseAbandoned():
                    del reserved[entry.of]
                    self.abandoned += 1
                case _:
                    pass
        self.open_places = frozenset(reserved.values())
        self._releases = [
            with_all_cohorts(release, state.budgets) for release in state.releases.values()
        ]

    def budgets(self) -> list[CohortBudget]:
        """Those of all cohorts, by name; a cohort that was given none has no cap."""
        found = dict(self._budgets)
        for release in self._releases:
            for name in set(release.cohorts).difference(found):
                found[name] = CohortBudget(name=name, delta=release.delta, epsilon_cap=None)
        return [found[name] for name in sorted(found)]

    def cohort(self, budget: CohortBudget) -> CohortStatement:
        releases = [release for release in self._releases if budget.name in release.cohorts]
        closed = [release for release in releases if release.place not in self.open_places]
        caps = Epsilons(epsilon=budget.epsilon_cap, epsilon_alone=budget.epsilon_alone_cap)
        spent, charged = (
            _epsilons(ChargeCounts(some).of_cohort(budget.name), delta=budget.delta)
            for some in (closed, releases)
        )
        return CohortStatement(
            cohort=budget.name,
            delta=budget.delta,
            caps=caps,
            spent=spent,
            reserved=_both(charged, spent, _difference),
            left=_both(caps, charged, _difference),
            used=_both(caps, charged, _used),
            shares_patients_with=charged_cohorts(budget.name, self._budgets)[1:],
            studies=tuple(self._studies(budget.name, releases)),
        )

    def _studies(self, cohort: str, releases: list[LedgerEntry]) -> Iterable[StudyStatement]:
        by_study: dict[str, list[LedgerEntry]] = {}
        for release in releases:
            by_study.setdefault(release.study_digest, []).append(release)
        for digest, own in by_study.items():
            # A digest has one delta; a ledger that says otherwise is shown at its worst.
            delta = min(release.delta for release in own)
            times = sorted(self._times[release.place] for release in own)
            yield StudyStatement(
                study_digest=digest,
                study_name=own[-1].study_name,
                delta=delta,
                releases=len(own),
                not_committed=sum(release.place in self.open_places for release in own),
                spent=_epsilons(ChargeCounts(own).of_cohort(cohort), delta=delta),
                first=times[0],
                last=times[-1],
            )


def _epsilons(charges: CohortCharges, *, delta: float) -> Epsilons:
    whole, alone = (study_charges(charges, alone=alone) for alone in (False, True))
    if whole is None or alone is None:
        return Epsilons(epsilon=None, epsilon_alone=None)
    return Epsilons(
        epsilon=worst_patient_epsilon(whole, delta=delta),
        epsilon_alone=worst_patient_epsilon(alone, delta=delta),
    )


def _both(first: Epsilons, second: Epsilons, combined: Callable[[float, float], float]) -> Epsilons:
    """Both combined; None where either is."""

    def one(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else combined(a, b)

    return Epsilons(
        epsilon=one(first.epsilon, second.epsilon),
        epsilon_alone=one(first.epsilon_alone, second.epsilon_alone),
    )


def _difference(more: float, less: float) -> float:
    # Of multiples of 1e-4, and of caps that may be anything.
    return max(0.0, round(more - less, 10))


def _used(cap: float, spent: float) -> float:
    return spent / cap if cap > 0 else 1.0
