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
_GUIDE_BITS = 11
# 100 digits are 332 bits. libmpdec rounds exp correctly, so this holds on every machine.
_DECIMAL = Context(prec=100)


@dataclass(frozen=True, eq=False)
class EnvelopeTable:
    """A staircase over |x| = 0, 1, 2, ... that lies on or above exp(-x^2 / (2 sigma^2)).

    Bin ``j`` covers ``2^width_log2`` integers from ``j * 2^width_log2``, and is as high as the
    density at its start. ``boundaries[j]`` is the envelope's mass of bins 0 .. j, as a fraction of
    2^256, rounded down; the last bin takes the rest. ``heads`` are the boundaries' top 64 bits.

    ``guide_bins`` and ``guide_heads`` have an entry for each value of a word's top bits: how many
    heads lie below all words that begin so, and the one head among those words. Without one, the
    entry's head is of other top bits and above; with several, the entry's bin is negative.
    """

    sigma: float
    width_log2: int
    boundaries: tuple[int, ...]
    heads: NDArray[np.uint64]
    guide_bins: NDArray[np.int64]
    guide_heads: NDArray[np.uint64]

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.boundaries) + 1

    def bins_of_words(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """For each word, how many heads are at most the word: its bin, if it equals no head.

        Where the word equals a head, the negative of that number, less one.
        """
        cells = (words >> np.uint64(64 - _GUIDE_BITS)).view(np.int64)
        # No cell lies outside the guide, so "clip" changes nothing but the speed.
        bins = self.guide_bins.take(cells, mode="clip")
        heads = self.guide_heads.take(cells, mode="clip")
        bins += words > heads
        doubtful = np.flatnonzero((bins < 0) | (words == heads))
        if doubtful.size:
            few = words[doubtful]
            found = np.searchsorted(self.heads, few, side="right")
            tied = (found > 0) & (self.heads[found - 1] == few)
            bins[doubtful] = np.where(tied, -1 - found, found)
        return bins

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
    guide_bins, guide_heads = _guide(heads)
    return EnvelopeTable(
        sigma=sigma,
        width_log2=width_log2,
        boundaries=boundaries,
        heads=heads,
        guide_bins=guide_bins,
        guide_heads=guide_heads,
    )


def _guide(heads: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    # "Guide table" search: Chen and Asau 1974; Devroye 1986, section III.2.4.
    starts = np.arange(2**_GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    below = np.searchsorted(heads, starts, side="left")
    inside = np.diff(below, append=len(heads))
    # Without a head inside, the next one is above every word of the cell; after the last head,
    # any word of the cell counts as doubtful rather than be compared with none.
    guide_heads = heads[np.minimum(below, len(heads) - 1)]
    guide_bins = np.where((inside > 1) | (below == len(heads)), -2, below).astype(np.int64)
    for array in (guide_bins, guide_heads):
        array.flags.writeable = False
    return guide_bins, guide_heads
