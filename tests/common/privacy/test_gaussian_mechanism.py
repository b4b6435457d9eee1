from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm

from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import (
    gaussian_delta,
    gaussian_epsilon,
    gaussian_noise_multiplier,
    merged,
)


@pytest.mark.parametrize(("sigma", "epsilon"), [(0.5, 1.0), (1.0, 0.3), (3.0, 2.0), (20.0, 0.1)])
def test_delta_is_the_hockey_stick_integral(sigma: float, epsilon: float) -> None:
    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, 1, sigma) - math.exp(epsilon) * norm.pdf(x, 0, sigma))

    threshold = 0.5 + epsilon * sigma**2  # where the densities' ratio is e^epsilon
    integral, _ = integrate.quad(
        excess, threshold, threshold + 12 * sigma, epsabs=1e-14, epsrel=1e-10, limit=500
    )
    assert gaussian_delta(noise_multiplier=sigma, epsilon=epsilon) == pytest.approx(
        integral, rel=1e-6, abs=1e-13
    )


@given(sigma=st.floats(0.05, 500), log_delta=st.floats(-10, -2))
def test_epsilon_inverts_delta(sigma: float, log_delta: float) -> None:
    delta = 10**log_delta
    epsilon = gaussian_epsilon(noise_multiplier=sigma, delta=delta)
    at = gaussian_delta(noise_multiplier=sigma, epsilon=epsilon)
    assert at == pytest.approx(delta, rel=1e-5) if epsilon > 0 else at <= delta
    if epsilon > 0:
        found = gaussian_noise_multiplier(epsilon=epsilon, delta=delta)
        assert found == pytest.approx(sigma, rel=1e-6)


def test_nothing_is_spent_where_delta_covers_everything() -> None:
    assert gaussian_epsilon(noise_multiplier=1e6, delta=1e-5) == 0.0


def test_merging_adds_inverse_variances() -> None:
    a = GaussianEvent(noise_multiplier=3.0, count=4)
    b = GaussianEvent(noise_multiplier=2.0, count=1)
    c = GaussianEvent(noise_multiplier=2.0, sampling_rate=0.5, count=2)
    sampled, everyone = merged([a, c, b, c])
    assert sampled == GaussianEvent(noise_multiplier=2.0, sampling_rate=0.5, count=4)
    assert everyone.noise_multiplier == pytest.approx((4 / 9 + 1 / 4) ** -0.5)
    assert (everyone.sampling_rate, everyone.count) == (1.0, 1)
    assert merged([]) == ()
