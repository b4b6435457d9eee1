"""What a local update holds of each of its steps, where no gradient depends on the weights.

In a coordinate of constant gradients (a canary's, whose residual stays 1, or one that no patient
has anything in) the local steps are a linear recurrence, known from the study alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.definition import LocalTraining, Study


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSteps:
    """``update = unit * (sum over steps of weights[s] * sum[s]) + carried * start``.

    ``sum[s]`` is what step ``s`` got for the coordinate, noise included; ``start`` the parameter
    that the update began with.
    """

    weights: NDArray[np.float64]
    unit: float
    carried: float

    @classmethod
    def of(cls, study: Study, *, sites: int) -> LocalSteps:
        """Run the recurrence of local training once for each step's impulse.

        ``sites`` are those of the signed roster, among whom the declared patients are shared.
        """
        training = study.training
        if not isinstance(training, LocalTraining):
            raise ValueError("only local training has local steps")
        steps = training.steps_per_round
        responses = np.array([_change(training, impulse=step, start=0.0) for step in range(steps)])
        divisor = study.cohort.expected_patients / sites * training.sampling_rate
        return cls(
            weights=responses / -training.learning_rate,
            unit=-training.learning_rate / divisor,
            carried=_change(training, impulse=None, start=1.0),
        )

    @property
    def length(self) -> float:
        """L2 norm of the weights: by how much independent noise of the steps grows."""
        return float(np.linalg.norm(self.weights))

    def read(self, update: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weighted sums of all steps, from coordinates of an update."""
        return (update - self.carried * start) / self.unit


def _change(training: LocalTraining, *, impulse: int | None, start: float) -> float:
    """The change of a parameter that begins at ``start``, one step's gradient being 1."""
    weight, velocity = start, 0.0
    for step in range(training.steps_per_round):
        gradient = float(step == impulse) + training.l2 * weight
        gradient += training.proximal * (weight - start)
        velocity = training.momentum * velocity + gradient
        weight -= training.learning_rate * velocity
    return weight - start
