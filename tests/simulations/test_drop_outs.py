from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.client.vault.timings import VaultTimings
from fedward.common.protocol.frame import encode_frame
from fedward.simulations.drop_outs import DropOuts, SiteDown, UnreliableVault


def fates(drop_outs: DropOuts, *, sites: int = 40, rounds: int = 100) -> Counter[str]:
    return Counter(
        drop_outs.fate(site=f"site-{site}", kind="moments", round_number=number, attempt=1)
        for site in range(sites)
        for number in range(rounds)
    )


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 0.9])
def test_sites_fail_at_their_rate_half_before_and_half_after(rate: float) -> None:
    found = fates(DropOuts(rate=rate, seed=1))
    drawn = found.total()

    for fate in ("fails before", "fails after"):
        share = rate / 2
        assert abs(found[fate] - drawn * share) <= 4.5 * (drawn * share * (1 - share)) ** 0.5


@given(st.integers(0, 2**63), st.text(max_size=20), st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_failure_follows_from_its_place_alone(
    seed: int, site: str, number: int, attempt: int
) -> None:
    first, second = (
        DropOuts(rate=0.5, seed=seed).fate(
            site=site, kind="counts", round_number=number, attempt=attempt
        )
        for _ in range(2)
    )
    assert first == second


def test_places_fail_independently() -> None:
    places = [
        {"site": "a", "kind": "moments", "round_number": 1, "attempt": 1},
        {"site": "b", "kind": "moments", "round_number": 1, "attempt": 1},
        {"site": "a", "kind": "counts", "round_number": 1, "attempt": 1},
        {"site": "a", "kind": "moments", "round_number": 2, "attempt": 1},
        {"site": "a", "kind": "moments", "round_number": 1, "attempt": 2},
    ]
    patterns = {
        tuple(DropOuts(rate=0.5, seed=seed).fate(**place) for seed in range(64))  # type: ignore[arg-type]
        for place in places
    }
    assert len(patterns) == len(places)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        DropOuts(rate=rate, seed=0)


class CountingVault:
    """Answers with its own count of queries."""

    def __init__(self) -> None:
        self.timings = VaultTimings()
        self.asked = 0

    def answer(self, frame: bytes) -> bytes:
        self.asked += 1
        return frame + bytes([self.asked])


def query(number: int) -> bytes:
    return encode_frame({"kind": "moments", "round": number, "attempt": 1}, {})


def test_an_answer_is_lost_before_or_after_it_was_computed() -> None:
    drop_outs = DropOuts(rate=0.6, seed=4)
    vault = CountingVault()
    site = UnreliableVault(vault, site="ward", drop_outs=drop_outs)
    assert site.timings is vault.timings
    seen = Counter[str]()

    for number in range(60):
        fate = drop_outs.fate(site="ward", kind="moments", round_number=number, attempt=1)
        before = vault.asked
        if fate == "answers":
            assert site.answer(query(number)) == query(number) + bytes([before + 1])
        else:
            with pytest.raises(SiteDown, match="ward"):
                site.answer(query(number))
        assert vault.asked - before == (0 if fate == "fails before" else 1)
        seen[fate] += 1
    assert len(seen) == 3


@pytest.mark.parametrize(
    "frame",
    [b"no frame", encode_frame({"kind": "open_session", "session": 1}, {})],
    ids=["malformed", "session"],
)
def test_only_sums_fail(frame: bytes) -> None:
    site = UnreliableVault(CountingVault(), site="ward", drop_outs=DropOuts(rate=0.999, seed=0))
    for _ in range(50):
        assert site.answer(frame).startswith(frame)
