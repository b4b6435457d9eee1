"""Matrix products in which a row of the result depends on that row of the input alone, to the bit.

A patient's contribution must not change with its neighbours in the batch: the sum's sensitivity
is one clip only if everyone else's terms stay what they were. A BLAS product rounds differently
for other shapes, so rows go through it in blocks of one fixed shape. That the library then treats
all rows of a block alike is not written in any standard: it is checked on this machine, once for
each shape, and a product that fails the check is computed row by row instead.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

ROWS = 64
"""Rows of a block. On the machines measured, faster than 128 or 512 rows at once."""

SMALL_PRODUCT = 10**6
"""Multiplications up to which OpenBLAS takes its way for small matrices, which packs nothing."""


def padded_rows(rows: int) -> int:
    """``rows`` rounded up to whole blocks."""
    return -(-rows // ROWS) * ROWS


def multiply_rows(
    rows: NDArray[np.floating], matrix: NDArray[np.floating], *, out: NDArray[np.floating]
) -> None:
    """Write ``rows @ matrix`` to ``out``, both C-contiguous with :func:`padded_rows` rows.

    Padding rows may hold anything finite.
    """
    inputs, outputs = matrix.shape
    if not rows_stay_apart(inputs, outputs, matrix.dtype.str):
        np.einsum("ri,io->ro", rows, matrix, out=out)
        return
    # One BLAS call a block: numpy walks the first axis itself.
    np.matmul(rows.reshape(-1, ROWS, inputs), matrix, out=out.reshape(-1, ROWS, outputs))


def sum_outer_products(
    left: NDArray[np.float64], right: NDArray[np.float64], *, out: NDArray[np.float64]
) -> None:
    """Write ``left.T @ right``, the sum over rows of their outer products, to ``out``.

    The order of addition over the rows is the library's. Columns of ``left`` are taken in slabs,
    each a small product, where they divide evenly: about a tenth faster on the machines measured.
    """
    rows, outputs = left.shape
    slab = SMALL_PRODUCT // max(1, rows * right.shape[1])
    slab = next((width for width in (32, 16, 8) if width <= slab and outputs % width == 0), 0)
    if slab:
        slabs = left.reshape(rows, outputs // slab, slab).transpose(1, 2, 0)
        np.matmul(slabs, right, out=out.reshape(-1, slab, right.shape[1]))
    else:
        np.matmul(left.T, right, out=out)


@lru_cache(maxsize=256)
def rows_stay_apart(inputs: int, outputs: int, dtype: str) -> bool:
    """Whether this machine's product of a block with ``[inputs, outputs]`` treats rows alike.

    That is: a row gives the same bits at every place of the block and beside any neighbours,
    judged on random rows.
    """
    generator = np.random.Generator(np.random.PCG64(20240229))
    # A short sum often rounds to the same bits in any order: small shapes are tried more often.
    trials = 2 if inputs * outputs > 2**16 else 8
    return all(_block_stays_apart(inputs, outputs, dtype, generator) for _ in range(trials))


def _block_stays_apart(
    inputs: int, outputs: int, dtype: DTypeLike, generator: np.random.Generator
) -> bool:
    matrix = generator.standard_normal((inputs, outputs)).astype(dtype)
    rows = generator.standard_normal((ROWS, inputs)).astype(dtype)
    expected = np.matmul(rows, matrix)
    # Every place is compared with its neighbour, and with two farther off.
    for shift in (1, 17, ROWS // 2):
        moved = np.ascontiguousarray(np.roll(rows, shift, axis=0))
        if not _same_bits(np.matmul(moved, matrix), np.roll(expected, shift, axis=0)):
            return False
    rows[::2] = _loud(rows[::2].shape, dtype)
    with np.errstate(all="ignore"):
        product = np.matmul(rows, matrix)
    return _same_bits(product[1::2], expected[1::2])


def _loud(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.floating]:
    values = np.array([np.nan, np.inf, -np.inf, np.finfo(np.dtype(dtype)).max, 0.0])
    return np.resize(values, shape).astype(dtype)


def _same_bits(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    return one.tobytes() == other.tobytes()
