"""Whether an attack explains patients better than the same attack on pure noise does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

NULL_RUNS: Final = 999
FALSE_ALARMS: Final = 1 / (NULL_RUNS + 1)
"""Family-wise: how often the patients together are called found in sums that say nothing."""
WORKED: Final = 0.05
"""Least share of a patient explained that is called a success."""


def matched(guess: NDArray[np.float64], records: NDArray[np.float64]) -> NDArray[np.float64]:
    """Guesses ``[n, columns]`` in the order of the ``records`` they are nearest to, together."""
    distances = ((records[:, None] - guess[None]) ** 2).sum(axis=2)
    return np.asarray(guess[linear_sum_assignment(distances)[1]], dtype=np.float64)


def explained(
    guess: NDArray[np.float64], records: NDArray[np.float64], average: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each patient 1 - |x - guess|^2 / |x - average|^2, at least 0, ``[n]``."""
    missed = ((records - guess) ** 2).sum(axis=1)
    apart = np.maximum(((records - average) ** 2).sum(axis=1), 1e-12)
    return np.asarray(np.maximum(0.0, 1.0 - missed / apart), dtype=np.float64)


def beyond_noise(shares: NDArray[np.float64], null: Iterator[NDArray[np.float64]]) -> bool:
    """Whether the best explained of all attacked patients is explained better than by noise.

    ``null`` gives, in portions, the best share over the same patients of the same attack on pure
    noise in place of sums; it is used up to ``NULL_RUNS`` runs, and no further once one of them did
    as well. If sums say nothing, the attack's best share is the highest of ``NULL_RUNS + 1`` alike
    with probability .1 % at most (a Monte Carlo test, Barnard 1963), over all patients together.
    Raises ValueError if ``null`` ends too soon.
    """
    best = float(shares.max())
    if best <= WORKED:
        return False
    runs = 0
    while runs < NULL_RUNS:
        portion = next(null, None)
        if portion is None:
            raise ValueError(f"the null needs {NULL_RUNS} runs and has {runs}")
        if portion.max() >= best:
            return False
        runs += len(portion)
    return True
