"""The exact envelope from which the discrete Gaussian is sampled: a staircase cut into cells."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

SMALLEST_SIGMA = 0.25
LARGEST_SIGMA = 2.0**45
TAIL_SIGMAS = 17
"""No draw is further out than this many sigma and two bins; the mass beyond is below 2^-205."""
FRACTION_BITS = 256
CELL_BITS = 14
OPEN = -(2**62)
"""Stands in :attr:`EnvelopeTable.cells` for the start of a bin that further words will choose."""

_BINS_PER_SIGMA_LOG2 = 5
# 100 digits are 332 bits. libmpdec rounds exp correctly, so this holds on every machine.
_DECIMAL = Context(prec=100)
_HAIR = Decimal("1e-60")


@dataclass(frozen=True, eq=False)
class EnvelopeTable:
    """A staircase over the integers that lies on or above exp(-x^2 / (2 sigma^2)).

    A bin holds the ``2^width_log2`` integers from ``starts[bin]`` on and is as high as the density
    at ``edges[bin]``: no further from zero than any of them and at most one from the nearest.

    The staircase is cut into ``2^14`` cells of equal mass. ``counts[bin]`` cells lie in the bin
    and below the density at all of its integers, so that whatever falls there is kept. What is left
    of all bins are the ``open_cells`` others. In the open part a bin is as high as ``rises[bin]``
    (the density at zero being 1). ``boundaries[j]`` is the part's mass of bins 0 .. j as a fraction
    of 2^256, rounded down; the last bin takes the rest. ``heads`` are the boundaries' top 64 bits.

    ``cells`` has each cell's start, or ``OPEN``. ``slopes`` are the edges' densities over the
    rises.
    """

    sigma: float
    width_log2: int
    counts: tuple[int, ...]
    rises: tuple[Decimal, ...]
    boundaries: tuple[int, ...]
    cells: NDArray[np.int64]
    heads: NDArray[np.uint64]
    starts: NDArray[np.int64]
    edges: NDArray[np.int64]
    slopes: NDArray[np.float64]

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.counts)

    @property
    def open_cells(self) -> int:
        """Number of cells that no bin has for itself."""
        return (1 << CELL_BITS) - sum(self.counts)

    def open_bin(self, uniform: int) -> int:
        """The bin of the open part that a 256-bit uniform number falls in."""
        return bisect.bisect_right(self.boundaries, uniform)

    def rejection_probability(self, bin_: int, magnitude: int) -> Decimal:
        """How much of the open part of a bin lies above the density at ``magnitude``."""
        edge = int(self.edges[bin_])
        missing = _DECIMAL.subtract(_density(edge, self.sigma), _density(magnitude, self.sigma))
        return _DECIMAL.divide(missing, self.rises[bin_])

    def rejects(self, uniform: int, bits: int, *, bin_: int, magnitude: int) -> bool:
        """Whether ``uniform / 2^bits`` is below :meth:`rejection_probability`."""
        scaled = _DECIMAL.multiply(self.rejection_probability(bin_, magnitude), Decimal(2**bits))
        return Decimal(uniform) < scaled


def _density(magnitude: int, sigma: float) -> Decimal:
    exact = Decimal(sigma)
    twice_variance = _DECIMAL.multiply(_DECIMAL.multiply(exact, exact), Decimal(2))
    square = _DECIMAL.create_decimal(-(magnitude**2))
    return _DECIMAL.exp(_DECIMAL.divide(square, twice_variance))


def _heights(size: int, *, width: int, sigma: float) -> list[Decimal]:
    """Densities at 0, width, 2 width, ...: h(j + 1) = h(j) h(1)^(2 j + 1)."""
    first = _density(width, sigma)
    ratio, step = first, _DECIMAL.multiply(first, first)
    heights = [Decimal(1)]
    for _ in range(size - 1):
        heights.append(_DECIMAL.multiply(heights[-1], ratio))
        ratio = _DECIMAL.multiply(ratio, step)
    return heights


def _sum(terms: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for term in terms:
        total = _DECIMAL.add(total, term)
    return total


def _cells_below(height: Decimal, cell: Decimal) -> int:
    # A hair less than fits, so that no rounding makes the open part of a bin negative.
    return max(0, int(_DECIMAL.subtract(_DECIMAL.divide(height, cell), _HAIR)))


@lru_cache(maxsize=64)
def envelope_table(sigma: float) -> EnvelopeTable:
    """The table for ``sigma`` (integer units, 0.25 .. 2^45). Raises ``ValueError`` outside."""
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise ValueError(f"sigma must be in [{SMALLEST_SIGMA}, 2^45] units: {sigma}")
    width_log2 = max(0, math.frexp(sigma)[1] - 1 - _BINS_PER_SIGMA_LOG2)
    width = 2**width_log2
    half = math.ceil(TAIL_SIGMAS * sigma / width) + 1
    heights = _heights(half + 1, width=width, sigma=sigma)
    # A bin below zero ends one integer before the one that its mirror image starts with. That
    # matters where bins are single integers: then edge, nearest and farthest integer are one.
    near = [-1 - j if j < 0 else j for j in range(-half, half)]
    far = [step + 1 for step in near]
    if width == 1:
        near = far = [abs(j) for j in range(-half, half)]
    cell = _DECIMAL.divide(_sum(heights[step] for step in near), Decimal(2**CELL_BITS))
    counts = [_cells_below(heights[step], cell) for step in far]
    rises = [
        _DECIMAL.subtract(heights[step], _DECIMAL.multiply(cell, Decimal(count)))
        for step, count in zip(near, counts, strict=True)
    ]
    part = list(accumulate(rises, _DECIMAL.add))
    scale = Decimal(2**FRACTION_BITS)
    boundaries = tuple(
        int(_DECIMAL.multiply(_DECIMAL.divide(mass, part[-1]), scale)) for mass in part[:-1]
    )
    starts = np.arange(-half, half, dtype=np.int64) << width_log2
    bare = np.full(2**CELL_BITS - sum(counts), OPEN, dtype=np.int64)
    slopes = [
        float(_DECIMAL.divide(heights[step], rise)) for step, rise in zip(near, rises, strict=True)
    ]
    table = EnvelopeTable(
        sigma=sigma,
        width_log2=width_log2,
        counts=tuple(counts),
        rises=tuple(rises),
        boundaries=boundaries,
        cells=np.concatenate([np.repeat(starts, counts), bare]),
        heads=np.array([b >> (FRACTION_BITS - 64) for b in boundaries], dtype=np.uint64),
        starts=starts,
        edges=np.array(near, dtype=np.int64) << width_log2,
        slopes=np.array(slopes),
    )
    for array in (table.cells, table.heads, table.starts, table.edges, table.slopes):
        array.flags.writeable = False
    return table
