r"""The Gaussian mechanism in closed form: exact, instant, and independent of every accountant.

Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy", theorem 8: noise
of standard deviation sigma on a sum of sensitivity 1 is (epsilon, delta)-DP exactly when

    delta >= Phi(1/(2 sigma) - epsilon sigma) - e^epsilon Phi(-1/(2 sigma) - epsilon sigma).

Releases to everyone (sampling rate 1) compose to one Gaussian with 1/sigma^2 summed, because the
privacy losses of Gaussians add (Dong, Roth, Su 2022, corollary 2; adaptive releases included).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from fedward.common.privacy.events import GaussianEvent, grouped


def gaussian_delta(*, noise_multiplier: float, epsilon: float) -> float:
    """The smallest delta of one Gaussian release at ``epsilon >= 0`` (Balle and Wang, eq. 6)."""
    half, scaled = 0.5 / noise_multiplier, epsilon * noise_multiplier
    loss = math.exp(min(0.0, epsilon + float(log_ndtr(-half - scaled))))
    return float(ndtr(half - scaled)) - loss


def gaussian_epsilon(*, noise_multiplier: float, delta: float) -> float:
    """The smallest epsilon of one Gaussian release at ``delta``, to about 1e-12; 0 if none."""
    if gaussian_delta(noise_multiplier=noise_multiplier, epsilon=0.0) <= delta:
        return 0.0
    # mu^2/2 + mu t with Phi(-t) <= delta: the first term of the formula alone is below delta.
    mu = 1 / noise_multiplier
    high = mu * mu / 2 + mu * (math.sqrt(-2 * math.log(delta)) + 1)
    return float(
        brentq(
            lambda epsilon: (
                gaussian_delta(noise_multiplier=noise_multiplier, epsilon=epsilon) - delta
            ),
            0.0,
            high,
            xtol=1e-13,
            rtol=1e-13,
        )
    )


def gaussian_noise_multiplier(*, epsilon: float, delta: float) -> float:
    """The noise of one Gaussian release that spends exactly (``epsilon``, ``delta``)."""
    low = high = 1.0
    while gaussian_delta(noise_multiplier=high, epsilon=epsilon) > delta:
        high *= 2
    while gaussian_delta(noise_multiplier=low, epsilon=epsilon) < delta:
        low /= 2
    if low == high:
        return low
    return float(
        brentq(
            lambda sigma: gaussian_delta(noise_multiplier=sigma, epsilon=epsilon) - delta,
            low,
            high,
            xtol=1e-14 * high,
            rtol=1e-13,
        )
    )


def merged(events: Iterable[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """Equal events grouped, and all events with sampling rate 1 as one release. Exact."""
    sampled: list[GaussianEvent] = []
    precision = 0.0
    for event in grouped(events):
        if event.sampling_rate == 1:
            precision += event.count / event.noise_multiplier**2
        else:
            sampled.append(event)
    if precision > 0:
        sampled.append(GaussianEvent(noise_multiplier=1 / math.sqrt(precision)))
    return tuple(sampled)
