r"""Discrete Gaussian noise on the integers, vectorised and without floating-point error.

The discrete Gaussian (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential
Privacy", definition 1) has P(x) proportional to exp(-x^2 / (2 sigma^2)) for integer x.

Method: rejection from a staircase. A 64-bit word picks a bin of the envelope; a second word gives
the sign, the place in the bin, and 22 bits of the coin that accepts with probability
exp(-(x^2 - start^2) / (2 sigma^2)). Zero with a minus sign is rejected, so that it counts once.
Comparisons are lazy: if 64 bits do not decide the bin, or 22 bits the coin beyond the rounding
error of a float64, then further bits are drawn and the comparison is made with 256 or more bits.
So no decision ever depends on a rounded number.

Gap in total variation to the ideal discrete Gaussian, per draw, given perfect random bits:

- tail cut at 17 sigma: 2 exp(-17^2 / 2) (1 + sigma / 17) over a total mass of at least
  max(1, 2.5 sigma), below 2^-205 (a decreasing sum is at most its first term plus its integral);
- bin boundaries: at most 800 of them, each rounded by less than 2^-256 + 2^-300: below 2^-246;
- coin: 278 bits against an exp of 100 decimal digits: below 2^-270, over an acceptance above 1/4.

The sum is below 2^-204; ``TOTAL_VARIATION_PER_DRAW`` says 2^-200. That the keystream (AES-256) is
as good as uniform is assumed, not proved. Timing is not constant: the number of rejected proposals
depends on the draws, so whoever can time a single site to nanoseconds is not covered.

A seeded stream gives the same draws on one machine. On another, a float64 exp that differs in its
last digit may ask for further bits where this one did not (about once in 10^9 draws) and so shift
what follows; each draw stays exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.common.privacy.discrete_gaussian_table import (
    FRACTION_BITS,
    EnvelopeTable,
    envelope_table,
)
from fedward.common.privacy.random_source import RandomStream

TOTAL_VARIATION_PER_DRAW = 2.0**-200
"""Upper bound of the statistical distance of one draw from the ideal; see the module."""

_COIN_BITS = 22
_COIN_SHIFT = 63 - _COIN_BITS
# Float64 error of the keep probability: exponent below 1.2 with relative error under 2^-50, exp
# within 4 units in the last place. 2^-45 is 16 times more than both.
_FLOAT_MARGIN = 2.0**-45
_CHUNK = 1 << 16


def sample_discrete_gaussian(stream: RandomStream, *, sigma: float, size: int) -> NDArray[np.int64]:
    """``size`` independent draws with parameter ``sigma`` in integer units, 0.25 .. 2^45.

    For sigma of 1 or more the variance is sigma^2 up to 1e-7 of it; below, it is smaller than
    sigma^2 (as defined by CKS20). Raises ``ValueError`` for a sigma out of range.
    """
    table = envelope_table(float(sigma))
    draws = np.empty(size, dtype=np.int64)
    for first in range(0, size, _CHUNK):
        _fill(draws[first : first + _CHUNK], stream, table)
    return draws


def _fill(target: NDArray[np.int64], stream: RandomStream, table: EnvelopeTable) -> None:
    values, kept = _propose(stream, table, target.size)
    target[:] = values
    pending = np.flatnonzero(~kept)
    while pending.size:
        values, kept = _propose(stream, table, pending.size)
        target[pending] = values
        pending = pending[~kept]


def _propose(
    stream: RandomStream, table: EnvelopeTable, size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    words = stream.uint64(2 * size)
    selector, rest = words[:size], words[size:]
    bins = _bins(stream, table, selector)
    negative = rest >> np.uint64(63) != 0
    if table.width_log2 == 0:
        magnitude, kept = bins, np.ones(size, dtype=np.bool_)
    else:
        start = bins << table.width_log2
        offset = (rest & np.uint64(2**table.width_log2 - 1)).astype(np.int64)
        magnitude = start + offset
        kept = _coins(stream, table, start=start, offset=offset, rest=rest)
    kept &= ~(negative & (magnitude == 0))
    return np.where(negative, -magnitude, magnitude), kept


def _bins(
    stream: RandomStream, table: EnvelopeTable, selector: NDArray[np.uint64]
) -> NDArray[np.int64]:
    bins = np.searchsorted(table.heads, selector, side="right").astype(np.int64)
    tied = np.flatnonzero((bins > 0) & (table.heads[bins - 1] == selector))
    if tied.size:
        more = stream.uint64(3 * tied.size).reshape(-1, 3)
        for index, words in zip(tied.tolist(), more.tolist(), strict=True):
            bins[index] = table.bin_of(_joined([int(selector[index]), *words]))
    return bins


def _coins(
    stream: RandomStream,
    table: EnvelopeTable,
    *,
    start: NDArray[np.int64],
    offset: NDArray[np.int64],
    rest: NDArray[np.uint64],
) -> NDArray[np.bool_]:
    exponent = offset.astype(np.float64) * (2 * start + offset)
    exponent *= -0.5 / (table.sigma * table.sigma)
    keep = np.exp(exponent, out=exponent)
    head = (rest >> np.uint64(_COIN_SHIFT)) & np.uint64(2**_COIN_BITS - 1)
    coin = head.astype(np.float64) * 2.0**-_COIN_BITS
    kept = coin + 2.0**-_COIN_BITS <= keep - _FLOAT_MARGIN
    open_ = np.flatnonzero(~kept & (coin < keep + _FLOAT_MARGIN))
    if open_.size:
        more = stream.uint64(4 * open_.size).reshape(-1, 4)
        for index, words in zip(open_.tolist(), more.tolist(), strict=True):
            kept[index] = table.keeps(
                _joined([int(head[index]), *words]),
                _COIN_BITS + FRACTION_BITS,
                start=int(start[index]),
                offset=int(offset[index]),
            )
    return kept


def _joined(words: list[int]) -> int:
    value = 0
    for word in words:
        value = (value << 64) | word
    return value
