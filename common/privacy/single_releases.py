"""Privacy loss distributions of single releases, by dp_accounting; kept within a bound."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

MOST_KEPT_POINTS = 1 << 23
"""Of all distributions that are kept together: 64 MiB of float64."""


class SingleReleases:
    """The distributions asked for last, up to :data:`MOST_KEPT_POINTS` in all. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[float, float, float], tuple[Any, int]] = OrderedDict()
        self._points = 0

    def of(self, noise_multiplier: float, *, sampling_rate: float, interval: float) -> Any:
        """The ``PrivacyLossDistribution`` of one release, discretised to ``interval``."""
        key = noise_multiplier, sampling_rate, interval
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[0]
        loss = _distribution(noise_multiplier, sampling_rate, interval)
        points = most_points(noise_multiplier, sampling_rate=sampling_rate, interval=interval)
        with self._lock:
            if points <= MOST_KEPT_POINTS and key not in self._kept:
                self._kept[key] = loss, points
                self._points += points
            while self._points > MOST_KEPT_POINTS:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._points -= dropped
        return loss


def most_points(noise_multiplier: float, *, sampling_rate: float, interval: float) -> int:
    """How many probabilities a distribution holds at most.

    Noise is cut off at a mass of e^-50, which is 10.1 standard deviations. A loss of l over all
    patients is one of log(1 + rate (e^l - 1)) over a sample, and never below log(1 - rate); then
    there are two distributions, for adding a patient and for removing one.
    """
    furthest = 0.5 / noise_multiplier**2 + 10.1 / noise_multiplier
    if sampling_rate == 1:
        return math.ceil(2 * furthest / interval + 3)
    above = min(furthest, float(np.logaddexp(math.log(sampling_rate) + furthest, 0.0)))
    below = min(furthest, -math.log1p(-sampling_rate))
    return 2 * math.ceil((above + below) / interval + 3)


def _distribution(noise_multiplier: float, sampling_rate: float, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        standard_deviation=noise_multiplier,
        sensitivity=1.0,
        value_discretization_interval=interval,
        sampling_prob=sampling_rate,
    )
