"""When one set of releases costs no more than another, whatever delta.

A sum with more noise is a function of one with less and of fresh noise, and one sum fewer is a
function of all; so what is covered here has no larger epsilon, and nothing needs to be composed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from fedward.common.privacy.events import GaussianEvent, grouped


class Spending:
    """Releases in a form that can be compared.

    Those over all patients compose exactly to one Gaussian release of their summed precision. Those
    over samples are counted by rate and noise.
    """

    def __init__(self, events: Iterable[GaussianEvent]) -> None:
        self.precision = 0.0
        by_rate: dict[float, list[GaussianEvent]] = {}
        for event in grouped(events):
            if event.sampling_rate == 1:
                self.precision += event.count / event.noise_multiplier**2
            else:
                by_rate.setdefault(event.sampling_rate, []).append(event)
        self._sampled = {
            rate: (
                [event.noise_multiplier for event in same],
                list(accumulate((event.count for event in same), initial=0)),
            )
            for rate, same in by_rate.items()
        }

    def covers(self, other: Spending) -> bool:
        """Whether ``other`` costs no more.

        So it is if its releases over all patients have no more precision, and each of those over
        samples has one here to itself, of the same rate, with as much noise or less. Other sets
        that cost no more are not found.
        """
        return other.precision <= self.precision and all(
            self._with_noise_up_to(noise, rate) >= count
            for rate, (noises, counts) in other._sampled.items()
            for noise, count in zip(noises, counts[1:], strict=True)
        )

    def _with_noise_up_to(self, noise: float, rate: float) -> int:
        noises, counts = self._sampled.get(rate, ([], [0]))
        return counts[bisect_right(noises, noise)]
