"""Privacy events: frozen facts about noise that was executed, and their algebra."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True, kw_only=True)
class GaussianEvent:
    """``count`` releases of a sum with Gaussian noise, each over a fresh sample of patients.

    ``noise_multiplier`` is the standard deviation of the noise over the L2 sensitivity for adding
    or removing one patient. ``sampling_rate`` is the Poisson rate by patient; 1 means everyone.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ValueError(f"noise_multiplier must be finite and > 0: {self.noise_multiplier}")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate must be in (0, 1]: {self.sampling_rate}")
        if self.count < 1:
            raise ValueError(f"count must be at least 1: {self.count}")


def grouped(events: Iterable[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """Equal events merged by adding their counts, in a canonical order.

    Composition does not depend on order, so this loses nothing; accountants need it, because PRV
    takes minutes beyond about fifty distinct events.
    """
    counts: Counter[tuple[float, float]] = Counter()
    for event in events:
        counts[(event.noise_multiplier, event.sampling_rate)] += event.count
    return tuple(
        GaussianEvent(noise_multiplier=sigma, sampling_rate=rate, count=count)
        for (sigma, rate), count in sorted(counts.items())
    )
