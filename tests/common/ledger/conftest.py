"""Entries of every kind, and chains of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from fedward.common.ledger.chain import SignedEntry, signed
from fedward.common.ledger.entries import (
    ENTRY,
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
from fedward.common.secure_sum.signatures import SiteIdentity

IDENTITY = SiteIdentity.generate()

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
signatures = st.from_regex(r"[0-9a-f]{128}", fullmatch=True)
numbers = st.integers(0, 2**53 - 1)
epsilons = st.floats(0, allow_nan=False, allow_infinity=False)
caps = st.none() | epsilons
deltas = st.floats(0, 1, exclude_min=True, exclude_max=True)
# No surrogates: they are in no text.
reasons = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1000)
events = st.none() | st.builds(
    ChargedEvent,
    noise_multiplier=st.floats(1e-3, 1e9),
    sampling_rate=st.floats(0, 1, exclude_min=True),
    count=st.integers(1, 10**9),
)
cohorts = st.lists(names, min_size=1, max_size=4, unique=True).map(
    lambda found: (found[0], *sorted(found[1:]))
)
place = {
    "sequence": numbers,
    "previous": digests,
    "time": st.just("2026-03-01T12:00:00Z"),
    "behind": numbers,
}
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(
        LedgerOpened,
        **place,
        site=names,
        identity_key=digests,
        ledger_id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
        software=st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    ),
    st.builds(
        CohortDeclared,
        **place,
        cohort=names,
        delta=deltas,
        epsilon_cap=caps,
        epsilon_alone_cap=caps,
        shares_patients_with=st.lists(names, max_size=3).map(tuple),
    ),
    st.builds(
        BudgetRaised,
        **place,
        cohort=names,
        epsilon_cap=caps,
        epsilon_alone_cap=caps,
        reason=reasons,
    ),
    st.builds(
        ReleaseReserved,
        **place,
        run_id=names,
        study_digest=digests,
        study_name=names,
        query_digest=digests,
        sum=st.sampled_from(["moments", "counts", "training", "evaluation", "site_evaluation"]),
        round=numbers,
        attempt=st.integers(1, 2**53 - 1),
        sites=st.integers(1, 10_000),
        delta=deltas,
        holdout=st.floats(0, 1),
        cohorts=cohorts,
        event=events,
        event_alone=events,
        epsilon=caps,
        epsilon_alone=caps,
    ),
    st.builds(ReleaseCommitted, **place, of=numbers, release_digest=digests),
    st.builds(ReleaseAbandoned, **place, of=numbers, reason=reasons),
    st.builds(
        HeadCountersigned,
        **place,
        run_id=names,
        head_sequence=numbers,
        head_digest=digests,
        coordinator_key=digests,
        signature=signatures,
    ),
    st.builds(
        BalanceStruck,
        **place,
        cohort=names,
        study_digest=digests,
        epsilon=epsilons,
        epsilon_alone=epsilons,
        cohort_epsilon=epsilons,
        cohort_epsilon_alone=epsilons,
    ),
)


@pytest.fixture(scope="session")
def entries() -> st.SearchStrategy[Entry]:
    """Entries of every kind, each by itself."""
    return ENTRIES


@pytest.fixture(scope="session")
def identity() -> SiteIdentity:
    """Whose chains they are."""
    return IDENTITY


@pytest.fixture(scope="session")
def chain_of() -> Callable[[list[Entry]], tuple[SignedEntry, ...]]:
    """Link entries, and sign them."""

    def linked(entries: list[Entry]) -> tuple[SignedEntry, ...]:
        previous, found = NOTHING_BEFORE, []
        for number, entry in enumerate(entries):
            body: dict[str, Any] = entry.model_dump(mode="json")
            body |= {"sequence": number, "previous": previous}
            found.append(signed(ENTRY.validate_python(body), IDENTITY))
            previous = found[-1].digest
        return tuple(found)

    return linked
