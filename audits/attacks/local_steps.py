"""What local steps do to a model, as far as it is linear: the weights of gradients, and drift.

Local training takes several steps before it releases their sum, so a coordinator sees a weighted
sum of gradients of several batches. While the model hardly moves, weights follow from the study.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.definition import LocalTraining, Study


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearSteps:
    """One release as ``- sum over steps of gains[step] * gradient sum of the step + drift * w``.

    ``w`` are the parameters that it began with. Distributed training releases the gradient sum
    itself: ``sign`` is +1, there is one gain of 1 and no drift. ``rate`` is the Poisson rate.
    """

    gains: NDArray[np.float64]
    drift: float
    sign: float
    rate: float

    @classmethod
    def of(cls, study: Study, *, sites: int) -> Self:
        """Run the study's step on an impulse; ``sites`` is the size of the signed roster."""
        training = study.training
        if not isinstance(training, LocalTraining):
            return cls(gains=np.ones(1), drift=0.0, sign=1.0, rate=training.sampling_rate)
        divisor = study.cohort.expected_patients / sites * training.sampling_rate
        steps = training.steps_per_round
        gains = [_final(training, impulse=step, start=0.0) for step in range(steps)]
        return cls(
            gains=-np.array(gains) / divisor,
            drift=_final(training, impulse=None, start=1.0) - 1.0,
            sign=-1.0,
            rate=training.sampling_rate,
        )

    @property
    def mean(self) -> float:
        """Mean weight of a member's gradient in a release."""
        return float(self.rate * self.gains.sum())

    @property
    def variance(self) -> float:
        """Variance of that weight, by who is sampled."""
        return float(self.rate * (1 - self.rate) * (self.gains**2).sum())

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
        """Weights of members in one release."""
        if self.rate == 1.0:
            return np.full(shape, float(self.gains.sum()))
        weights = np.zeros(shape)
        for gain in self.gains:
            weights += gain * (generator.random(shape) < self.rate)
        return weights


def _final(training: LocalTraining, *, impulse: int | None, start: float) -> float:
    """One coordinate after all steps if a gradient of 1 comes at step ``impulse`` alone."""
    weight, velocity = start, 0.0
    for step in range(training.steps_per_round):
        gradient = 1.0 if step == impulse else 0.0
        gradient += training.l2 * weight + training.proximal * (weight - start)
        velocity = training.momentum * velocity + gradient
        weight -= training.learning_rate * velocity
    return weight
