from __future__ import annotations

import math

import pytest

from fedward.server.evaluation.results import Z
from fedward.server.evaluation.score_interval import accepted_range


def test_a_fixed_variance_gives_the_usual_interval() -> None:
    low, high = accepted_range(0.4, variance=lambda _: 0.01)
    assert low == pytest.approx(0.4 - Z * 0.1, abs=1e-8)
    assert high == pytest.approx(0.4 + Z * 0.1, abs=1e-8)


def test_the_variance_at_the_limit_counts() -> None:
    """Wilson's interval of 15 in 100, in closed form."""
    low, high = accepted_range(0.15, variance=lambda p: p * (1 - p) / 100)
    centre = (0.15 + Z**2 / 200) / (1 + Z**2 / 100)
    half = Z / (1 + Z**2 / 100) * math.sqrt(0.15 * 0.85 / 100 + Z**2 / 40000)
    assert low == pytest.approx(centre - half, abs=1e-8)
    assert high == pytest.approx(centre + half, abs=1e-8)


def test_limits_stay_within_the_range() -> None:
    assert accepted_range(0.5, variance=lambda _: 1.0) == (0.0, 1.0)
    assert accepted_range(1.0, variance=lambda _: 0.0) == (pytest.approx(1.0), 1.0)
