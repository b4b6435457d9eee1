"""Standardisation by public constants: the study's ranges, or charged private moments.

Features enter in [-1, 1] by public range. A scaler moves each column by ``center`` and divides it
by ``scale``; rows are then divided by the square root of the number of columns and capped at norm
1, so that the clip of a gradient binds on the patient's residual and not on an outlying feature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.definition import Study

SCALE_FLOOR = 0.05
"""Smallest standard deviation that noisy moments may give, in units of half the public range."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaler:
    """``center`` and ``scale`` of each column, float64 ``[columns]``; ``scale`` above 0."""

    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def identity(cls, columns: int) -> Self:
        """Leave columns as their public ranges scaled them."""
        return cls(center=np.zeros(columns), scale=np.ones(columns))

    def equals(self, other: Scaler) -> bool:
        """Whether both scale alike, to the last bit."""
        return np.array_equal(self.center, other.center) and np.array_equal(self.scale, other.scale)

    def apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale rows of ``[rows, columns]``; every row of the result has norm at most 1."""
        standard = (features - self.center) / (self.scale * math.sqrt(len(self.scale)))
        norms = np.linalg.norm(standard, axis=1, keepdims=True)
        scaled: NDArray[np.float64] = standard / np.maximum(norms, 1.0)
        return scaled


def moments_length(columns: int) -> int:
    """Length of one patient's moments: a first and a second moment of each column."""
    return 2 * columns


def moments_of_patients(
    features: NDArray[np.float64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Each patient's bounded moments ``[patients, 2 columns]``, L2 norm at most 1.

    ``features`` lie in [-1, 1]. A patient's entry is the mean over its rows of ``(x, x^2)``,
    divided by ``sqrt(2 columns)``: one patient counts once, however many rows it has.
    """
    rows = np.concatenate([features, features**2], axis=1)
    sums = np.add.reduceat(rows, offsets[:-1], axis=0)
    return sums / (np.diff(offsets)[:, None] * math.sqrt(rows.shape[1]))


def scaler_from_moments(total: NDArray[np.float64], study: Study) -> Scaler:
    """Read means and standard deviations from a (noised) sum of all patients' moments.

    Divides by the declared number of patients, as the true one is private. Post-processing of a
    released sum; costs nothing more.
    """
    columns = len(total) // 2
    moments = total * math.sqrt(len(total)) / study.cohort.expected_patients
    center = np.clip(moments[:columns], -1.0, 1.0)
    variance = moments[columns:] - center**2
    scale = np.sqrt(np.maximum(variance, SCALE_FLOOR**2))
    return Scaler(center=center, scale=scale)
