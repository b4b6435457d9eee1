r"""Trade-off functions (Dong, Roth, Su 2022) of the releases that a plan makes, at any noise.

A mechanism is f-DP if no test of "the patient is in" against "is not" has a type II error below
f(type I error). Here f is used the other way round: for a given power (1 - type II error), what
type I error every test has at least.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.bisection import HIGHEST
from fedward.common.privacy.events import GaussianEvent

_NORMAL = NormalDist()
_FINE = (1e-3, 600)
_COARSE = (4e-3, 300)
"""Interval of the discretised privacy loss, and pairs of its curve that are used."""
_NEGLIGIBLE = 1e-9
"""Delta below which a privacy curve is not followed."""


class TradeOff(Protocol):
    """The smallest errors of tests of one patient's presence; symmetric in "in" and "out"."""

    def type_one(self, power: float) -> float:
        """What the type I error of a test of this ``power`` in [0, 1] is at least; convex."""


@dataclass(frozen=True)
class GaussianTradeOff:
    """Of normal noise with a shift of ``mu`` standard deviations: G_mu of Dong, Roth, Su, eq. 6."""

    mu: float

    def type_one(self, power: float) -> float:
        """Phi(Phi^-1(power) - mu)."""
        if power <= 0:
            return 0.0
        if power >= 1:
            return 1.0
        return 0.5 * math.erfc((self.mu - _NORMAL.inv_cdf(power)) / math.sqrt(2))


class PrivacyCurveTradeOff:
    """Of all (epsilon, delta) pairs of a privacy curve at once: Dong, Roth, Su, proposition 6.

    Each pair is two lines below the type I error; ``type_one`` is their upper envelope. Pairs that
    are left out only make it smaller.
    """

    def __init__(self, epsilons: NDArray[np.float64], deltas: NDArray[np.float64]) -> None:
        slopes = np.concatenate([np.exp(-epsilons), np.exp(epsilons), [0.0]])
        heights = np.concatenate(
            [-np.exp(-epsilons) * deltas, 1 - deltas - np.exp(epsilons), [0.0]]
        )
        self._slopes, self._heights, self._starts = _upper_envelope(slopes, heights)

    def type_one(self, power: float) -> float:
        """The highest of the lines."""
        line = bisect_right(self._starts, power) - 1
        return self._slopes[line] * power + self._heights[line]


def trade_off_of(events: tuple[GaussianEvent, ...], *, coarse: bool = False) -> TradeOff:
    """The trade-off function of all events together; where any is sampled, a lower bound of it.

    Gaussian releases to everyone compose to one Gaussian (corollary 2). For sampled ones the
    privacy curve of dp_accounting's pessimistic PLD is taken, for adding or removing one patient;
    ``coarse`` is some per cent lower and several times as quick.
    """
    if all(event.sampling_rate == 1 for event in events):
        return GaussianTradeOff(
            math.sqrt(sum(event.count / event.noise_multiplier**2 for event in events))
        )
    interval, pairs = _COARSE if coarse else _FINE
    return _of_curve(events, interval, pairs)


@lru_cache(maxsize=128)
def _of_curve(
    events: tuple[GaussianEvent, ...], interval: float, pairs: int
) -> PrivacyCurveTradeOff:
    from dp_accounting.pld import privacy_loss_distribution

    composed = None
    for event in events:
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            standard_deviation=event.noise_multiplier,
            value_discretization_interval=interval,
            sampling_prob=event.sampling_rate,
        ).self_compose(event.count)
        composed = loss if composed is None else composed.compose(loss)
    if composed is None:
        raise ValueError("no events")
    highest = float(composed.get_epsilon_for_delta(_NEGLIGIBLE))
    highest = highest if math.isfinite(highest) else HIGHEST
    epsilons = np.linspace(0.0, max(highest, 0.1), pairs)
    deltas = np.asarray(composed.get_delta_for_epsilon(epsilons), dtype=np.float64)
    return PrivacyCurveTradeOff(epsilons, np.clip(deltas, 0.0, 1.0))


def _upper_envelope(
    slopes: NDArray[np.float64], heights: NDArray[np.float64]
) -> tuple[list[float], list[float], list[float]]:
    """Slopes and heights of the lines that are highest somewhere in [0, 1], and from where on."""
    kept_slopes: list[float] = []
    kept_heights: list[float] = []
    starts: list[float] = []
    for index in np.lexsort((heights, slopes)):
        slope, height = float(slopes[index]), float(heights[index])
        start = -math.inf
        while kept_slopes:
            if slope > kept_slopes[-1]:
                start = (kept_heights[-1] - height) / (slope - kept_slopes[-1])
                if start > starts[-1]:
                    break
            kept_slopes.pop()
            kept_heights.pop()
            starts.pop()
            start = -math.inf
        kept_slopes.append(slope)
        kept_heights.append(height)
        starts.append(start)
    return kept_slopes, kept_heights, starts
