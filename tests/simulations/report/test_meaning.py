from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.simulations.report.meaning import FALSE_ALARMS, bound_of

epsilons = st.floats(0.0, 20.0)
deltas = st.sampled_from([1e-10, 1e-5, 1e-2])


def best_rate(false_alarms: float, epsilon: float, delta: float) -> float:
    """The upper edge of the trade-off region, from its two defining inequalities."""
    rising = math.exp(epsilon) * false_alarms + delta
    falling = 1 - math.exp(-epsilon) * (1 - false_alarms - delta)
    return min(1.0, rising, falling)


@given(epsilons, deltas)
def test_bounds_are_the_best_over_the_whole_trade_off_curve(epsilon: float, delta: float) -> None:
    found = bound_of(epsilon, delta=delta)
    rates = np.linspace(0, 1, 2001)
    guesses = [(1 + best_rate(float(rate), epsilon, delta) - rate) / 2 for rate in rates]
    corner = (1 - delta) / (1 + math.exp(epsilon))
    at_corner = (1 + best_rate(corner, epsilon, delta) - corner) / 2
    assert max(guesses) <= found.guess + 1e-12
    assert at_corner == pytest.approx(found.guess, abs=1e-12)
    assert found.found == pytest.approx(best_rate(FALSE_ALARMS, epsilon, delta))


def test_known_values() -> None:
    nothing = bound_of(0.0, delta=1e-12)
    assert nothing.guess == pytest.approx(0.5)
    assert nothing.found == pytest.approx(FALSE_ALARMS)
    assert nothing.odds_factor == 1.0
    assert bound_of(1.0, delta=1e-5).guess == pytest.approx(0.7310613, abs=1e-6)


def test_a_huge_epsilon_promises_nothing_and_does_not_overflow() -> None:
    found = bound_of(5000.0, delta=1e-5)
    assert found.guess == 1.0
    assert found.found == 1.0
    assert math.isfinite(found.odds_factor)
