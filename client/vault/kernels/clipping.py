"""The clip: what a patient's gradient is multiplied by so that its L2 norm is at most ``clip``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def clip_factors(norms: NDArray[np.float64], *, clip: float) -> NDArray[np.float64]:
    """``min(1, clip / norm)`` for each norm (Abadi et al. 2016, algorithm 1); 0 if not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.minimum(1.0, clip / norms)
    return np.where(np.isfinite(norms), factors, 0.0)


def clipped_rows_sum(gradients: NDArray[np.float64], *, clip: float) -> NDArray[np.float64]:
    """Clip each row of ``[patients, parameters]`` and add up; rows not finite count as zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.vecdot(gradients, gradients))
    factors = clip_factors(norms, clip=clip)
    lost = ~np.isfinite(norms)
    if lost.any():
        # 0 x NaN is NaN, so the rows themselves must go.
        gradients = np.where(lost[:, None], 0.0, gradients)
    total: NDArray[np.float64] = factors @ gradients
    return total
