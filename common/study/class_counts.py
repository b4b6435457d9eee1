"""How many training patients have each outcome: what one patient adds to that sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

COUNTS_LENGTH = 2
"""Positive patients, then negative ones."""


def majority_outcomes(
    target: NDArray[np.float64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Each patient's outcome, 1.0 or 0.0: that of most of its rows, positive if they tie.

    ``target`` is 0/1 by row, ``offsets`` are the bounds of the patients' rows, [patients + 1].
    """
    shares = np.add.reduceat(target, offsets[:-1]) / np.diff(offsets)
    return (shares >= 0.5).astype(np.float64)


def class_count_sum(outcome: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the patients' vectors [:data:`COUNTS_LENGTH`], each one-hot, so of L2 norm 1."""
    positive = int(np.count_nonzero(outcome >= 0.5))
    return np.array([positive, len(outcome) - positive], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Noised numbers of training patients by outcome; they may be negative or fractions.

    ``noise`` is the standard deviation of the noise in either number.
    """

    positive: float
    negative: float
    noise: float

    @classmethod
    def of(cls, total: NDArray[np.float64], *, noise_deviation: float) -> Self:
        """Read a released sum. ValueError if it has another length."""
        if total.shape != (COUNTS_LENGTH,):
            raise ValueError(f"class counts are {COUNTS_LENGTH} numbers, not {total.shape}")
        return cls(positive=float(total[0]), negative=float(total[1]), noise=noise_deviation)
