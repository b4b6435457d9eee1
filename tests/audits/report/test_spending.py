from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fedward.audits.report.document import ChargeLine, SiteBooks
from fedward.audits.report.spending import MOST_MOMENTS, epsilons_of, site_books
from fedward.common.ledger.entries import (
    BudgetRaised,
    ChargedEvent,
    CohortDeclared,
    Entry,
    LedgerOpened,
    ReleaseAbandoned,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent

DELTA = 1e-5


class Chain:
    """Entries one after another; links are not looked at here."""

    def __init__(self) -> None:
        self.entries: list[Entry] = [
            LedgerOpened(
                **self._place(0),
                site="ward",
                identity_key="0" * 64,
                ledger_id="0" * 32,
                software="fedward",
            )
        ]

    def add(self, kind: type, **fields: Any) -> int:
        number = len(self.entries)
        self.entries.append(kind(**self._place(number), **fields))
        return number

    def declare(self, cohort: str, **fields: Any) -> None:
        defaults = {
            "delta": DELTA,
            "epsilon_cap": 1.0,
            "epsilon_alone_cap": None,
            "shares_patients_with": (),
        }
        self.add(CohortDeclared, cohort=cohort, **(defaults | fields))

    def reserve(self, *, sigma: float | None = 10.0, **fields: Any) -> int:
        defaults = {
            "run_id": "run",
            "study_digest": "a" * 64,
            "study_name": "study-a",
            "query_digest": "b" * 64,
            "sum": "training",
            "round": len(self.entries),
            "attempt": 1,
            "sites": 3,
            "delta": DELTA,
            "holdout": 0.2,
            "cohorts": ("adults",),
            "event": event(sigma),
            "event_alone": event(sigma and sigma / 2),
            "epsilon": None,
            "epsilon_alone": None,
        }
        return self.add(ReleaseReserved, **(defaults | fields))

    def _place(self, number: int) -> dict[str, Any]:
        return {
            "sequence": number,
            "previous": "0" * 64,
            "time": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
        }


def event(sigma: float | None, *, rate: float = 1.0, count: int = 1) -> ChargedEvent | None:
    if sigma is None:
        return None
    return ChargedEvent(noise_multiplier=sigma, sampling_rate=rate, count=count)


def plain(*sigmas: float) -> float:
    return epsilon_of([GaussianEvent(noise_multiplier=sigma) for sigma in sigmas], delta=DELTA)


def accounts(books: SiteBooks) -> dict[str, Any]:
    return {f"{account.kind} {account.name}": account for account in books.accounts}


def test_equal_releases_are_one_line_and_cost_together() -> None:
    chain = Chain()
    chain.declare("adults")
    places = [chain.reserve() for _ in range(3)]
    chain.reserve(sum="moments", sigma=20.0)
    chain.add(ReleaseCommitted, of=places[0], release_digest="c" * 64)
    chain.add(ReleaseAbandoned, of=places[1], reason="fault")
    found = accounts(site_books(chain.entries))
    assert set(found) == {"cohort adults", "study study-a"}
    for account in found.values():
        assert [(line.sum, line.releases) for line in account.charges] == [
            ("training", 3),
            ("moments", 1),
        ]
        assert (account.charges[0].committed, account.charges[0].abandoned) == (1, 1)
        # Epsilon is rounded up to 1e-4, and a part of delta goes to the sampler.
        assert account.epsilon == pytest.approx(plain(10, 10, 10, 20), abs=1.1e-4)
        assert account.epsilon_alone == pytest.approx(plain(5, 5, 5, 10), abs=1.1e-4)
        assert [moment.epsilon for moment in account.moments] == pytest.approx(
            [plain(10), plain(10, 10), plain(10, 10, 10), plain(10, 10, 10, 20)], abs=1.1e-4
        )
        assert [moment.sequence for moment in account.moments] == [2, 3, 4, 5]


def test_parts_of_the_patients_do_not_add_up() -> None:
    chain = Chain()
    chain.declare("adults")
    chain.reserve(sigma=4.0)
    chain.reserve(sigma=8.0, sum="evaluation")
    found = accounts(site_books(chain.entries))
    assert found["study study-a"].epsilon == pytest.approx(plain(4), abs=1.1e-4)


def test_overlapping_cohorts_are_charged_alike_and_studies_add_up() -> None:
    chain = Chain()
    chain.declare("adults", shares_patients_with=("everyone",))
    chain.declare("everyone", epsilon_cap=None)
    chain.reserve(cohorts=("adults", "everyone"))
    chain.reserve(cohorts=("everyone", "adults"), study_digest="d" * 64, study_name="study-d")
    chain.reserve(cohorts=("everyone",), study_digest="d" * 64, study_name="study-d")
    found = accounts(site_books(chain.entries))
    assert found["cohort adults"].epsilon == pytest.approx(plain(10, 10), abs=1.1e-4)
    assert found["cohort everyone"].epsilon == pytest.approx(plain(10, 10, 10), abs=1.1e-4)
    assert found["study study-a"].epsilon == pytest.approx(plain(10), abs=1.1e-4)
    assert found["study study-d"].epsilon == pytest.approx(plain(10, 10), abs=1.1e-4)
    assert found["cohort adults"].shares_patients_with == ("everyone",)
    assert found["cohort everyone"].epsilon_cap is None


def test_the_last_declaration_and_raise_count() -> None:
    chain = Chain()
    chain.declare("adults", epsilon_cap=2.0)
    chain.declare("adults", epsilon_cap=1.5)
    chain.add(
        BudgetRaised, cohort="adults", epsilon_cap=3.0, epsilon_alone_cap=9.0, reason="Agreed."
    )
    account = accounts(site_books(chain.entries))["cohort adults"]
    assert (account.epsilon_cap, account.epsilon_alone_cap) == (3.0, 9.0)
    assert (account.epsilon, account.epsilon_alone, account.moments) == (0.0, 0.0, ())


def test_a_release_without_noise_leaves_no_epsilon() -> None:
    chain = Chain()
    chain.declare("adults")
    chain.reserve()
    chain.reserve(sigma=None)
    account = accounts(site_books(chain.entries))["study study-a"]
    assert account.moments[0].epsilon is not None
    assert (account.epsilon, account.epsilon_alone) == (None, None)


def test_long_ledgers_have_few_moments_and_the_last_one() -> None:
    chain = Chain()
    chain.declare("adults")
    for _ in range(100):
        chain.reserve(sigma=300.0)
    account = accounts(site_books(chain.entries))["study study-a"]
    assert len(account.moments) == MOST_MOMENTS
    assert account.moments[-1].releases == (100,)
    assert account.moments[-1].sequence == 101
    counts = [moment.releases[0] for moment in account.moments]
    assert counts == sorted(set(counts))


def test_a_local_release_counts_each_of_its_steps() -> None:
    line = charge(sigma=2.0, rate=0.1, count=5)
    epsilon, _ = epsilons_of([line], [3], delta=DELTA)
    expected = GaussianEvent(noise_multiplier=2.0, sampling_rate=0.1, count=15)
    assert epsilon == pytest.approx(epsilon_of([expected], delta=DELTA), abs=1.1e-4)
    assert epsilons_of([line], [0], delta=DELTA) == (0.0, 0.0)


def test_a_cohort_that_was_never_declared_has_no_account() -> None:
    chain = Chain()
    chain.reserve()
    assert set(accounts(site_books(chain.entries))) == {"study study-a"}


@pytest.mark.parametrize("skip", [slice(0, 0), slice(1, None)])
def test_a_ledger_begins_with_its_opening(skip: slice) -> None:
    chain = Chain()
    chain.declare("adults")
    entries: Sequence[Entry] = chain.entries[skip]
    with pytest.raises(ValueError, match="opens"):
        site_books(entries)


def charge(*, sigma: float, rate: float, count: int) -> ChargeLine:
    return ChargeLine(
        study_name="study-a",
        study_digest="a" * 64,
        holdout=0.2,
        sum="training",
        event=event(sigma, rate=rate, count=count),
        event_alone=event(sigma, rate=rate, count=count),
        releases=3,
        committed=3,
        abandoned=0,
    )
