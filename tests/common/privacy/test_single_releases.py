"""Of the distributions of single releases, not too many are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.common.privacy import single_releases
from fedward.common.privacy.single_releases import SingleReleases, most_points

INTERVAL = 1e-3


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.2, 1e4),
    st.one_of(st.just(1.0), st.floats(1e-4, 0.999)),
    st.sampled_from([1e-2, 1e-3]),
)
def test_a_distribution_is_not_larger_than_it_is_counted(
    noise: float, rate: float, interval: float
) -> None:
    found = SingleReleases().of(noise, sampling_rate=rate, interval=interval)

    size = found._pmf_remove.to_dense_pmf().size
    size += 0 if rate == 1 else found._pmf_add.to_dense_pmf().size
    assert size <= most_points(noise, sampling_rate=rate, interval=interval) <= 2 * size + 16


def test_what_was_asked_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    points = most_points(2.0, sampling_rate=1.0, interval=INTERVAL)
    monkeypatch.setattr(single_releases, "MOST_KEPT_POINTS", 2 * points)
    kept = SingleReleases()

    def of(noise: float) -> Any:
        return kept.of(noise, sampling_rate=1.0, interval=INTERVAL)

    first, second = of(2.0), of(2.1)
    assert of(2.0) is first
    of(2.2)
    assert of(2.0) is first
    assert of(2.1) is not second


def test_one_that_is_larger_than_all_that_is_kept_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(single_releases, "MOST_KEPT_POINTS", 10)
    kept = SingleReleases()
    first = kept.of(2.0, sampling_rate=1.0, interval=INTERVAL)

    assert kept.of(2.0, sampling_rate=1.0, interval=INTERVAL) is not first
