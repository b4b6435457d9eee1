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

from collections.abc import Iterator

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
"""Draws whose words are asked for at once: part of what a seeded stream yields."""
_BLOCK = 1 << 13
"""Draws worked on at once, so that what lies between stays in the processor's cache."""


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
    pending = np.flatnonzero(~_propose(stream, table, target))
    while pending.size:
        values = np.empty(pending.size, dtype=np.int64)
        kept = _propose(stream, table, values)
        target[pending] = values
        pending = pending[~kept]


def _propose(
    stream: RandomStream, table: EnvelopeTable, values: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Write a proposal to every place, and say which are kept.

    Words are used in this order: one a place for the bin, one a place for the rest, those that
    settle bins, those that settle coins. Blocks do not change it.
    """
    size = values.size
    blocks = [slice(first, first + _BLOCK) for first in range(0, size, _BLOCK)]
    words = _word_blocks(stream, size)
    tied: dict[int, int] = {}
    for block in blocks:
        selector = next(words)
        # The bins wait in the place of the values.
        values[block] = bins = table.bins_of_words(selector)
        for within in np.flatnonzero(bins < 0).tolist():
            tied[block.start + within] = int(selector[within])
    if tied:
        words = iter(list(words))
        _decide_bins(stream, table, tied, bins=values)
    kept = np.empty(size, dtype=np.bool_)
    doubtful: dict[int, int] = {}
    for block in blocks:
        rest = next(words).view(np.int64)
        for within in _coins(table, rest, values=values[block], kept=kept[block]).tolist():
            doubtful[block.start + within] = int(rest[within])
    if doubtful:
        _decide_coins(stream, table, doubtful, values=values, kept=kept)
    return kept


def _word_blocks(stream: RandomStream, size: int) -> Iterator[NDArray[np.uint64]]:
    """``size`` words in blocks, and another ``size``: both in one request where they are few."""
    if 2 * size <= _BLOCK:
        words = stream.uint64(2 * size)
        yield words[:size]
        yield words[size:]
        return
    for _ in range(2):
        for first in range(0, size, _BLOCK):
            yield stream.uint64(min(_BLOCK, size - first))


def _decide_bins(
    stream: RandomStream, table: EnvelopeTable, tied: dict[int, int], *, bins: NDArray[np.int64]
) -> None:
    """Settle the bins of the places whose word, given here, equals the head of a boundary."""
    more = stream.uint64(3 * len(tied)).reshape(-1, 3)
    for (index, head), words in zip(tied.items(), more.tolist(), strict=True):
        bins[index] = table.bin_of(_joined([head, *words]))


def _coins(
    table: EnvelopeTable,
    rest: NDArray[np.int64],
    *,
    values: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Turn bins into signed proposals and throw the coins; return the places of doubtful coins."""
    sign = rest >> 63
    if table.width_log2 == 0:
        values ^= sign
        np.not_equal(values, -1, out=kept)  # all but zero with a minus sign
        values -= sign
        return np.empty(0, dtype=np.int64)
    start = values << table.width_log2
    offset = rest & (2**table.width_log2 - 1)
    np.add(start, offset, out=values)
    values ^= sign
    minus_zero = values == -1
    values -= sign
    exponent = offset.astype(np.float64)
    start += start
    start += offset
    exponent *= start.astype(np.float64)
    exponent *= -0.5 / (table.sigma * table.sigma)
    # In units of the coin's last bit; a power of two rounds nothing.
    keep = np.exp(exponent, out=exponent)
    keep *= 2.0**_COIN_BITS
    margin = _FLOAT_MARGIN * 2.0**_COIN_BITS
    coin = ((rest >> _COIN_SHIFT) & (2**_COIN_BITS - 1)).astype(np.float64)
    below = coin < keep + margin
    coin += 1
    keep -= margin
    np.less_equal(coin, keep, out=kept)
    below &= ~kept
    kept &= ~minus_zero
    return np.flatnonzero(below)


def _decide_coins(
    stream: RandomStream,
    table: EnvelopeTable,
    doubtful: dict[int, int],
    *,
    values: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> None:
    """Settle the coins of the places, given here with their word, that a float64 leaves open."""
    more = stream.uint64(4 * len(doubtful)).reshape(-1, 4)
    for (index, rest), words in zip(doubtful.items(), more.tolist(), strict=True):
        magnitude = abs(int(values[index]))
        offset = rest & (2**table.width_log2 - 1)
        head = (rest >> _COIN_SHIFT) & (2**_COIN_BITS - 1)
        heads_up = table.keeps(
            _joined([head, *words]),
            _COIN_BITS + FRACTION_BITS,
            start=magnitude - offset,
            offset=offset,
        )
        kept[index] = heads_up and not (magnitude == 0 and rest < 0)


def _joined(words: list[int]) -> int:
    value = 0
    for word in words:
        value = (value << 64) | word
    return value
