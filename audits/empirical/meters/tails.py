"""P-values for sums of coins that no rate, however small, makes too small.

All are Chernoff bounds from the exact moment generating function: never below the truth, about ten
times above it far out in a tail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from fedward.audits.empirical.meters.levels import two_sided

_STEEPEST_SUM, _STEEPEST_ABOVE, _STEEPEST_BELOW = 30.0, 2.0, 50.0
_REACH = 9.0
"""Standard deviations of a Gaussian, beyond which there is nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CoinSums:
    """So many ``groups``, each the sum of ``terms`` doses; a dose tosses a coin for each weight."""

    groups: int
    terms: int
    weights: NDArray[np.float64]
    rate: float

    @property
    def mean(self) -> float:
        """Of one group."""
        return float(self.terms * self.rate * self.weights.sum())

    @property
    def variance(self) -> float:
        """Of one group."""
        return float(self.terms * self.rate * (1 - self.rate) * np.sum(self.weights**2))

    @property
    def reach(self) -> float:
        """No group is farther from its mean, in standard deviations."""
        return float(self.terms * np.abs(self.weights).sum() / np.sqrt(self.variance))

    def log_moment(self, slope: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log of E exp(slope * (group - mean)), elementwise."""
        return np.asarray(self._log_coins(slope) - slope * self.mean)

    def log_moment_of_square(self, slope: float) -> float:
        """The log of E exp(slope * (group - mean)^2 / variance).

        The square is made linear by a standard normal g: exp(a^2 / 2) = E exp(a g). The integral
        over g is of unit Gaussians, or of waves no shorter than ``reach`` allows, so that the
        trapezoidal rule is exact to rounding.
        """
        length = float(np.sqrt(2 * abs(slope)))
        most = length * self.reach
        at = length / np.sqrt(self.variance)
        if slope > 0:
            g = np.arange(-most - _REACH, most + _REACH, 0.25)
            logs = self.log_moment(at * g) - g**2 / 2
            return float(logsumexp(logs) + np.log(0.25 / np.sqrt(2 * np.pi)))
        step = 2 * np.pi / (most + 2 * _REACH)
        g = np.arange(-np.ceil(_REACH / step), np.ceil(_REACH / step) + 1) * step
        turned = np.ones(len(g), dtype=np.complex128)
        for weight, count in self._counted_weights():
            coin = 1 - self.rate + self.rate * np.exp(1j * at * g * weight)
            turned *= coin ** (self.terms * count)
        turned *= np.exp(-1j * at * g * self.mean)
        total = float(np.sum(turned.real * np.exp(-(g**2) / 2))) * step / np.sqrt(2 * np.pi)
        # Rounding must not make it smaller than it is.
        return float(np.log(max(total, 0.0) + 1e-13))

    def _log_coins(self, slope: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros_like(slope)
        for weight, count in self._counted_weights():
            coin = np.logaddexp(np.log1p(-self.rate), np.log(self.rate) + slope * weight)
            total += self.terms * count * coin
        return total

    def _counted_weights(self) -> list[tuple[float, int]]:
        weights, counts = np.unique(self.weights, return_counts=True)
        return [(float(w), int(c)) for w, c in zip(weights, counts, strict=True)]


def spread_p(statistic: float, sums: Sequence[CoinSums]) -> float:
    """Two-sided p-value of the squares of all groups, each in units of its planned variance."""

    def exponent(slope: float) -> float:
        moments = sum(one.groups * one.log_moment_of_square(slope) for one in sums)
        return moments - slope * statistic

    return two_sided(_bound(exponent, _STEEPEST_ABOVE), _bound(exponent, -_STEEPEST_BELOW))


def coin_sum_p(total: float, sums: Sequence[CoinSums]) -> float:
    """Two-sided p-value of the sum of all groups."""
    steepest = _STEEPEST_SUM / max(float(np.abs(one.weights).max()) for one in sums)
    away = total - sum(one.groups * one.mean for one in sums)

    def exponent(slope: float) -> float:
        moments = sum(one.groups * float(one.log_moment(np.array(slope))) for one in sums)
        return moments - slope * away

    return two_sided(_bound(exponent, steepest), _bound(exponent, -steepest))


def _bound(exponent: Callable[[float], float], steepest: float) -> float:
    """The smallest exp(exponent) up to a slope; every slope gives a bound, so none need be best."""
    bounds = (min(0.0, steepest), max(0.0, steepest))
    # The scale of a good slope is not known, and the exponent is convex in it.
    scales = steepest * 2.0 ** -np.arange(0, 24, 2)
    best = min(scales, key=exponent)
    near = (max(bounds[0], min(best / 4, best * 4)), min(bounds[1], max(best / 4, best * 4)))
    found = minimize_scalar(exponent, bounds=near, method="bounded", options={"maxiter": 30})
    return float(np.exp(min(0.0, float(found.fun), exponent(best))))
