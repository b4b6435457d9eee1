from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from fedward.audits.empirical.trade_off import (
    GaussianTradeOff,
    PrivacyCurveTradeOff,
    trade_off_of,
)
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import gaussian_delta

POWERS = np.concatenate([[0.0, 1e-6, 1e-3], np.linspace(0.01, 0.99, 50), [1 - 1e-6, 1.0]])


@pytest.mark.parametrize("mu", [0.1, 1.0, 4.0])
def test_gaussian_is_the_power_of_a_threshold_test(mu: float) -> None:
    thresholds = np.linspace(mu - 4, 4, 30)
    found = [GaussianTradeOff(mu).type_one(float(p)) for p in norm.sf(thresholds - mu)]
    assert found == pytest.approx(norm.sf(thresholds), rel=1e-9)


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_the_curve_of_a_gaussian_gives_the_gaussian_back_from_below(mu: float) -> None:
    epsilons = np.linspace(0, 8 * mu + mu * mu, 2000)
    deltas = np.array([gaussian_delta(noise_multiplier=1 / mu, epsilon=float(e)) for e in epsilons])
    curve = PrivacyCurveTradeOff(epsilons, deltas)
    exact = np.array([GaussianTradeOff(mu).type_one(float(power)) for power in POWERS])
    found = np.array([curve.type_one(float(power)) for power in POWERS])
    assert np.all(found <= exact + 1e-12)
    assert found == pytest.approx(exact, abs=2e-5)


@given(
    pairs=st.lists(st.tuples(st.floats(0, 8), st.floats(0, 1)), min_size=1, max_size=8),
    power=st.floats(0, 1),
)
def test_the_envelope_is_the_highest_line(pairs: list[tuple[float, float]], power: float) -> None:
    epsilons, deltas = (np.array(part) for part in zip(*pairs, strict=True))
    by_hand = max(
        0.0,
        *(np.exp(-epsilons) * (power - deltas)),
        *(1 - deltas - np.exp(epsilons) * (1 - power)),
    )
    found = PrivacyCurveTradeOff(epsilons, deltas).type_one(power)
    assert found == pytest.approx(by_hand, abs=1e-9)


def _lower_hull(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept: list[int] = []
    for index in np.lexsort((y, x)):
        while len(kept) > 1:
            before, last = kept[-2:]
            rise = (y[last] - y[before]) * (x[index] - x[last])
            if rise < (y[index] - y[last]) * (x[last] - x[before]):
                break
            kept.pop()
        kept.append(int(index))
    return x[kept], y[kept]


@pytest.mark.parametrize(("rate", "noise"), [(0.05, 0.7), (0.5, 1.0)])
def test_a_sampled_release_has_the_hull_of_its_best_tests(rate: float, noise: float) -> None:
    thresholds = np.linspace(-4, 6, 400)
    absent = norm.sf(thresholds / noise)
    present = (1 - rate) * absent + rate * norm.sf((thresholds - 1) / noise)
    # "In" is said above a threshold, or "out" below it; a coin may choose between two tests.
    power = np.concatenate([present, 1 - absent, [0.0, 1.0]])
    type_one = np.concatenate([absent, 1 - present, [0.0, 1.0]])
    trade_off = trade_off_of((GaussianEvent(noise_multiplier=noise, sampling_rate=rate),))
    asked = np.linspace(0, 1, 500)
    found = np.array([trade_off.type_one(float(one)) for one in asked])
    best = np.interp(asked, *_lower_hull(power, type_one))
    assert np.all(found <= best + 1e-12)
    assert found == pytest.approx(best, abs=1e-4)


def test_events_for_everyone_compose_to_one_gaussian() -> None:
    events = (
        GaussianEvent(noise_multiplier=3.0, count=9),
        GaussianEvent(noise_multiplier=4.0, count=16 * 3),
    )
    assert trade_off_of(events) == GaussianTradeOff(2.0)
