r"""Discrete Gaussian noise on the integers, vectorised and without floating-point error.

The discrete Gaussian (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential
Privacy", definition 1) has P(x) proportional to exp(-x^2 / (2 sigma^2)) for integer x.

Method: rejection from a staircase, most of which is known to lie below the density. The top bits of
a 64-bit word pick one of 2^14 equal cells of the staircase, the low bits the place in a bin. If the
cell has a bin to itself, that is the draw. If it is open (about one in thirty), a second word picks
the bin among what the cells left of all bins, and a third throws the coin that rejects what lies
above the density; then all is drawn anew. (Cells: Marsaglia 1963, "Generating discrete random
variables in a computer"; staircase and coin: Devroye 1986, sections II.3 and VIII.2.)
Comparisons are lazy: if 64 bits do not decide the bin, or 53 bits the coin beyond the rounding
error of a float64, then further bits are drawn and the comparison is made with 256 or more bits.
So no decision ever depends on a rounded number.

Gap in total variation to the ideal discrete Gaussian, per draw, given perfect random bits:

- tail cut at 17 sigma: 2 exp(-17^2 / 2) (1 + sigma / 17) over a total mass of at least
  max(1, 2.5 sigma), below 2^-205 (a decreasing sum is at most its first term plus its integral);
- bins of the open part: at most 2200, each boundary rounded by less than 2^-256: below 2^-244;
- 100 decimal digits (332 bits) for at most 2200 heights, their sum and differences: below 2^-300;
- coin: 320 bits, below 2^-319.

Each is at most doubled by the rejection, which leaves more than half. The sum is below 2^-203;
``TOTAL_VARIATION_PER_DRAW`` says 2^-200. That the keystream (AES-256) is as good as uniform is
assumed, not proved. Timing is not constant: the number of open cells and of rejections depends on
the draws, so whoever can time a single site to nanoseconds is not covered.

A seeded stream gives the same draws on one machine. On another, a float64 expm1 that differs in its
last digits may ask for further bits where this one did not (about once in 10^14 draws) and so shift
what follows; each draw stays exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.common.privacy.discrete_gaussian_table import (
    CELL_BITS,
    FRACTION_BITS,
    OPEN,
    EnvelopeTable,
    envelope_table,
)
from fedward.common.privacy.random_source import RandomStream

TOTAL_VARIATION_PER_DRAW = 2.0**-200
"""Upper bound of the statistical distance of one draw from the ideal; see the module."""

_COIN_BITS = 53
# Float64 error of the rejection probability, which is at most 1: exponent with relative error under
# 2^-50 and at most 1.2, expm1 within 4 units in the last place, one product. 2^-45 is 8 times more.
_FLOAT_MARGIN = 2.0**-45
_CHUNK = 1 << 18
"""Draws that share their words for open cells: part of what a seeded stream yields."""
_BLOCK = 1 << 15
"""Draws worked on at once, so that what lies between stays in the processor's cache."""


def sample_discrete_gaussian(stream: RandomStream, *, sigma: float, size: int) -> NDArray[np.int64]:
    """``size`` independent draws with parameter ``sigma`` in integer units, 0.25 .. 2^45.

    For sigma of 1 or more the variance is sigma^2 up to 1e-7 of it; below, it is smaller than
    sigma^2 (as defined by CKS20). Raises ``ValueError`` for a sigma out of range.
    """
    draws = np.zeros(size, dtype=np.int64)
    add_discrete_gaussian(draws, stream, sigma=sigma)
    return draws


def add_discrete_gaussian(target: NDArray[np.int64], stream: RandomStream, *, sigma: float) -> None:
    """Add as many draws to ``target`` ``[size]``, in place and modulo 2^64.

    The draws are those of :func:`sample_discrete_gaussian`, and never all in memory. Raises
    ``ValueError`` for a sigma out of range.
    """
    table = envelope_table(float(sigma))
    for first in range(0, target.size, _CHUNK):
        _add(target[first : first + _CHUNK], stream, table)


def _add(target: NDArray[np.int64], stream: RandomStream, table: EnvelopeTable) -> None:
    """Add a draw to every place.

    Words are used in this order: one a place, for cell and offset; one an open place for its bin;
    one an open place for its coin; those that settle bins; those that settle coins. Then the same
    for the places that rejected, as if they were all. Blocks do not change it.
    """
    places, offsets = _add_cells(target, stream, table)
    if not places.size:
        return
    words = stream.uint64(2 * places.size)
    coins = words[places.size :]
    bins, tied = _open_bins(table, words[: places.size])
    if tied:
        more = stream.uint64(3 * len(tied)).reshape(-1, 3).tolist()
        for (index, head), rest in zip(tied.items(), more, strict=True):
            bins[index] = table.open_bin(_joined([head, *rest]))
    draws = table.starts.take(bins) + offsets
    rejected, doubtful = _rejected(table, bins, np.abs(draws), coins)
    if doubtful.size:
        more = stream.uint64(4 * doubtful.size).reshape(-1, 4).tolist()
        for index, rest in zip(doubtful.tolist(), more, strict=True):
            rejected[index] = table.rejects(
                _joined([int(coins[index]), *rest]),
                64 + FRACTION_BITS,
                bin_=int(bins[index]),
                magnitude=abs(int(draws[index])),
            )
    again = np.zeros(np.count_nonzero(rejected), dtype=np.int64)
    _add(again, stream, table)
    draws[rejected] = again
    target[places] += draws


def _add_cells(
    target: NDArray[np.int64], stream: RandomStream, table: EnvelopeTable
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add the draws of cells with a bin; return the other places and their offsets."""
    block = min(target.size, _BLOCK)
    word_buffer = np.empty(block, dtype=np.uint64)
    cell_buffer = np.empty(block, dtype=np.uint64)
    drawn_buffer = np.empty(block, dtype=np.int64)
    places, offsets = [], []
    for first in range(0, target.size, _BLOCK):
        part = target[first : first + _BLOCK]
        words, cells = word_buffer[: part.size], cell_buffer[: part.size]
        drawn = drawn_buffer[: part.size]
        stream.fill(words)
        np.right_shift(words, np.uint64(64 - CELL_BITS), out=cells)
        # No cell lies outside the table, so "clip" changes nothing but the speed.
        table.cells.take(cells.view(np.int64), mode="clip", out=drawn)
        if table.width_log2:
            words &= np.uint64(2**table.width_log2 - 1)
            drawn += words.view(np.int64)
        unsettled = np.flatnonzero(drawn < OPEN // 2)
        places.append(unsettled + first)
        offsets.append(drawn[unsettled] - OPEN)
        drawn[unsettled] = 0
        part += drawn
    if not places:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(places), np.concatenate(offsets)


def _open_bins(
    table: EnvelopeTable, words: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], dict[int, int]]:
    """The open part's bin of each word; and the words that equal the head of a boundary."""
    bins = np.searchsorted(table.heads, words, side="right")
    tied = np.flatnonzero(table.heads.take(bins - 1, mode="clip") == words)
    return bins, {int(index): int(words[index]) for index in tied}


def _rejected(
    table: EnvelopeTable,
    bins: NDArray[np.int64],
    magnitudes: NDArray[np.int64],
    coins: NDArray[np.uint64],
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which coins reject as far as a float64 tells, and the places of those that it leaves open."""
    edges = table.edges.take(bins)
    exponent = (magnitudes - edges).astype(np.float64)
    exponent *= (magnitudes + edges).astype(np.float64)
    exponent *= -0.5 / (table.sigma * table.sigma)
    reject = np.expm1(exponent, out=exponent)
    reject *= -table.slopes.take(bins)
    coin = (coins >> np.uint64(64 - _COIN_BITS)).astype(np.float64)
    coin *= 2.0**-_COIN_BITS
    possible = coin < reject + _FLOAT_MARGIN
    certain = coin + 2.0**-_COIN_BITS <= reject - _FLOAT_MARGIN
    return certain, np.flatnonzero(possible & ~certain)


def _joined(words: list[int]) -> int:
    value = 0
    for word in words:
        value = (value << 64) | word
    return value
