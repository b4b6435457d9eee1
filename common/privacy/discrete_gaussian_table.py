"""The exact envelope from which the discrete Gaussian is sampled, in 256-bit fixed point."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SMALLEST_SIGMA = 0.25
LARGEST_SIGMA = 2.0**45
TAIL_SIGMAS = 17
"""No draw is further out than this many sigma and one bin; the mass beyond is below 2^-205."""
FRACTION_BITS = 256

_BINS_PER_SIGMA_LOG2 = 4
# 100 digits are 332 bits. libmpdec rounds exp correctly, so this holds on every machine.
_DECIMAL = Context(prec=100)


@dataclass(frozen=True, eq=False)
class EnvelopeTable:
    """A staircase over |x| = 0, 1, 2, ... that lies on or above exp(-x^2 / (2 sigma^2)).

    Bin ``j`` covers ``2^width_log2`` integers from ``j * 2^width_log2``, and is as high as the
    density at its start. ``boundaries[j]`` is the envelope's mass of bins 0 .. j, as a fraction of
    2^256, rounded down; the last bin takes the rest. ``heads`` are the boundaries' top 64 bits.
    """

    sigma: float
    width_log2: int
    boundaries: tuple[int, ...]
    heads: NDArray[np.uint64]

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.boundaries) + 1

    def bin_of(self, uniform: int) -> int:
        """The bin that a 256-bit uniform number falls in."""
        return bisect.bisect_right(self.boundaries, uniform)

    def keep_probability(self, *, start: int, offset: int) -> Decimal:
        """Density at ``start + offset`` over the density at ``start``, to 99 digits."""
        exponent = _DECIMAL.divide(
            _DECIMAL.create_decimal(offset * (2 * start + offset)), _twice_variance(self.sigma)
        )
        return _DECIMAL.exp(exponent.copy_negate())

    def keeps(self, uniform: int, bits: int, *, start: int, offset: int) -> bool:
        """Whether ``uniform / 2^bits`` is below :meth:`keep_probability`."""
        scaled = _DECIMAL.multiply(
            self.keep_probability(start=start, offset=offset), Decimal(2**bits)
        )
        return Decimal(uniform) < scaled


def _twice_variance(sigma: float) -> Decimal:
    exact = Decimal(sigma)
    return _DECIMAL.multiply(_DECIMAL.multiply(exact, exact), Decimal(2))


@lru_cache(maxsize=256)
def envelope_table(sigma: float) -> EnvelopeTable:
    """The table for ``sigma`` (integer units, 0.25 .. 2^45). Raises ``ValueError`` outside."""
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise ValueError(f"sigma must be in [{SMALLEST_SIGMA}, 2^45] units: {sigma}")
    width_log2 = max(0, math.frexp(sigma)[1] - 1 - _BINS_PER_SIGMA_LOG2)
    width = 2**width_log2
    bins = math.ceil(TAIL_SIGMAS * sigma / width) + 1
    twice_variance = _twice_variance(sigma)
    heights = [
        _DECIMAL.exp(_DECIMAL.divide(Decimal(-((j * width) ** 2)), twice_variance))
        for j in range(bins)
    ]
    total = Decimal(0)
    running = []
    for height in heights:
        total = _DECIMAL.add(total, height)
        running.append(total)
    scale = Decimal(2**FRACTION_BITS)
    boundaries = tuple(
        int(_DECIMAL.multiply(_DECIMAL.divide(partial, total), scale)) for partial in running[:-1]
    )
    heads = np.array([b >> (FRACTION_BITS - 64) for b in boundaries], dtype=np.uint64)
    heads.flags.writeable = False
    return EnvelopeTable(sigma=sigma, width_log2=width_log2, boundaries=boundaries, heads=heads)
