from __future__ import annotations

import math

import pytest

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.events import GaussianEvent

SCALER = GaussianEvent(noise_multiplier=9.0)


def next_smaller(sigma: float) -> float:
    """The next smaller number of five digits."""
    step = 10.0 ** (math.floor(math.log10(sigma * (1 - 1e-9))) - 4)
    return float(f"{sigma - step:.5g}")


@pytest.mark.parametrize(
    ("epsilon", "delta", "rate", "count", "already"),
    [
        (1.0, 1e-5, 1.0, 1, ()),
        (1.0, 1e-5, 1.0, 60, ()),
        (1.9, 1e-5, 1.0, 60, (SCALER,)),
        (0.33333, 1e-6, 1.0, 7, ()),
        (0.01, 1e-6, 1.0, 10, ()),
        (8.0, 1e-4, 1.0, 100, ()),
        (1.0, 1e-5, 0.1, 200, ()),
        (1.0, 1e-5, 0.1, 200, (SCALER,)),
        (0.1, 1e-7, 0.01, 1000, ()),
        (0.29, 1e-10, 0.5, 10, ()),
        (1.0, 1e-5, 1.0, 20, (GaussianEvent(noise_multiplier=3.0, sampling_rate=0.1, count=9),)),
    ],
)
def test_budget_holds_and_the_next_smaller_noise_breaks_it(
    epsilon: float,
    delta: float,
    rate: float,
    count: int,
    already: tuple[GaussianEvent, ...],
) -> None:
    sigma = calibrated_noise_multiplier(
        epsilon=epsilon, delta=delta, sampling_rate=rate, count=count, already=already
    )

    def spent(noise: float) -> float:
        planned = GaussianEvent(noise_multiplier=noise, sampling_rate=rate, count=count)
        return epsilon_of((*already, planned), delta=delta)

    assert sigma == float(f"{sigma:.5g}")
    assert spent(sigma) <= epsilon
    assert spent(next_smaller(sigma)) > epsilon


def test_published_number_of_the_exact_mechanism() -> None:
    """Balle and Wang's analytic Gaussian mechanism at (1, 1e-5), their public implementation."""
    sigma = calibrated_noise_multiplier(epsilon=1.0, delta=1e-5, sampling_rate=1.0, count=1)
    assert sigma == pytest.approx(3.730632, rel=5e-5)


def test_more_releases_and_less_epsilon_need_more_noise() -> None:
    def sigma(epsilon: float, count: int) -> float:
        return calibrated_noise_multiplier(
            epsilon=epsilon, delta=1e-5, sampling_rate=1.0, count=count
        )

    assert sigma(1.0, 400) == pytest.approx(20 * sigma(1.0, 1), rel=1e-4)
    assert sigma(0.5, 1) > sigma(1.0, 1) > sigma(2.0, 1)


def test_nothing_left_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="Nothing is left"):
        calibrated_noise_multiplier(
            epsilon=0.3, delta=1e-5, sampling_rate=1.0, count=1, already=(SCALER,)
        )


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [(0.0, 1e-5), (-1.0, 1e-5), (50.1, 1e-5), (math.nan, 1e-5), (1.0, 0.0), (1.0, 1e-12)],
)
def test_budgets_out_of_range_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(PrivacyRefusal, match="calibrated for"):
        calibrated_noise_multiplier(epsilon=epsilon, delta=delta, sampling_rate=1.0, count=1)


@pytest.mark.parametrize(("rate", "count"), [(0.0, 1), (1.1, 1), (0.5, 0)])
def test_impossible_events_are_refused(rate: float, count: int) -> None:
    with pytest.raises(ValueError, match=r"sampling_rate|count"):
        calibrated_noise_multiplier(epsilon=1.0, delta=1e-5, sampling_rate=rate, count=count)
