"""Norms of patients' mean gradients from the factors of their rows, without writing them out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.client.vault.kernels.mlp_rows import RowParts

GRAM_ROWS = 32
"""A patient with more rows than this has its gradient written out, which is then cheaper."""

CANCELLATION = 2.0**-10
"""Below this share of the squared sum of its rows' norms, a patient's squared norm is not taken
from Gram matrices: the difference of large numbers would be mostly rounding."""

UNIT_ROUNDOFF = 2.0**-53


def summed_squared_norms(
    parts: RowParts, counts: NDArray[np.int64], row_norms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared norm of each patient's *summed* row gradients, never too small; NaN if cancelled.

    ``|sum_r g_r|^2 = sum_rs sum_l (delta_r . delta_s)(input_r . input_s + 1)`` over the row pairs
    of a patient (Gram matrices). A bound on the rounding of this sum is added, so that the clip
    made from it holds. Where the rows cancel below :data:`CANCELLATION`, or a value is not
    finite, the answer is NaN: the caller must write that gradient out.

    ``counts [patients]`` must each be at most :data:`GRAM_ROWS`; rows are side by side.
    """
    starts = np.cumsum(counts) - counts
    squared = np.full(len(counts), np.nan)
    width = max(part.shape[1] for part in (*parts.inputs, *parts.deltas))
    size = 2
    while size // 2 < int(counts.max(initial=0)):
        # A patient's Gram matrices have a shape that its own row count alone decides.
        group = np.flatnonzero((counts > size // 2) & (counts <= size))
        if len(group):
            offsets = np.arange(size)
            present = offsets < counts[group, None]
            # Padding repeats the patient's own first row: a neighbour's could be NaN.
            rows = starts[group, None] + np.where(present, offsets, 0)
            grams = _gram_sums(parts, rows, present)
            bound = np.where(present, row_norms[rows], 0.0).sum(axis=1) ** 2
            # Dot products of at most `width` terms, times each other, summed over size^2 pairs
            # and the layers: a gamma_n bound (Higham 2002, lemma 3.1) with n well above.
            slack = 4 * (2 * width + size * size + 16) * UNIT_ROUNDOFF * bound
            squared[group] = np.where(grams > CANCELLATION * bound, grams + slack, np.nan)
        size *= 2
    return squared


def _gram_sums(
    parts: RowParts, rows: NDArray[np.int64], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    total = np.zeros(len(rows))
    for inputs, deltas in zip(parts.inputs, parts.deltas, strict=True):
        left = inputs[rows]
        right = np.where(present[:, :, None], deltas[rows], 0.0)
        pairs = np.matmul(left, left.transpose(0, 2, 1)) + 1.0
        pairs *= np.matmul(right, right.transpose(0, 2, 1))
        total += pairs.sum(axis=(1, 2))
    return total
