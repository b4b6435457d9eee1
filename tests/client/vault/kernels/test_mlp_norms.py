from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.client.vault.kernels.mlp_norms import (
    CANCELLATION,
    GRAM_ROWS,
    summed_squared_norms,
)
from fedward.client.vault.kernels.mlp_rows import RowParts


def _parts(rows: int, seed: int) -> RowParts:
    generator = np.random.default_rng(seed)
    shapes = ((3, 5), (5, 2), (2, 1))
    return RowParts(
        tuple(generator.standard_normal((rows, inputs)) for inputs, _ in shapes),
        tuple(generator.standard_normal((rows, outputs)) for _, outputs in shapes),
    )


def _written_out(parts: RowParts) -> np.ndarray:
    return np.concatenate(
        [
            np.einsum("ro,ri->roi", delta, np.pad(x, ((0, 0), (0, 1)), constant_values=1)).reshape(
                len(delta), -1
            )
            for x, delta in zip(parts.inputs, parts.deltas, strict=True)
        ],
        axis=1,
    )


def _widened(parts: RowParts) -> RowParts:
    return RowParts(
        tuple(part.astype(np.longdouble) for part in parts.inputs),
        tuple(part.astype(np.longdouble) for part in parts.deltas),
    )


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, GRAM_ROWS), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
)
def test_gram_norms_are_those_of_the_written_out_sum(counts: list[int], seed: int) -> None:
    parts = _parts(sum(counts), seed)
    gradients = _written_out(parts)
    norms = np.sqrt(parts.squared_norms())
    np.testing.assert_allclose(norms, np.linalg.norm(gradients, axis=1), rtol=1e-12)
    starts = np.cumsum(counts) - counts
    expected = (np.add.reduceat(gradients, starts, axis=0) ** 2).sum(axis=1)
    found = summed_squared_norms(parts, np.array(counts), norms)
    bound = np.add.reduceat(norms, starts) ** 2
    kept = expected > 1.001 * CANCELLATION * bound
    np.testing.assert_allclose(found[kept], expected[kept], rtol=2e-9)
    # Never too small, not even by its own rounding: judged in extended precision.
    exact = _written_out(_widened(parts))
    exact = (np.add.reduceat(exact, starts, axis=0) ** 2).sum(axis=1)
    assert (found[kept] >= exact[kept]).all()
    assert np.isnan(found[expected < 0.999 * CANCELLATION * bound]).all()


def test_cancelling_and_lost_patients_are_handed_back() -> None:
    parts = _parts(6, 0)
    for delta in parts.deltas:
        delta[1] = -delta[0]
        delta[4] = np.nan
    for inputs in parts.inputs:
        inputs[1] = inputs[0]
    norms = np.sqrt(parts.squared_norms())
    found = summed_squared_norms(parts, np.array([2, 2, 2]), norms)
    assert np.isnan(found).tolist() == [True, False, True]


def test_a_lost_neighbour_changes_no_bit() -> None:
    parts = _parts(8, 3)
    norms = np.sqrt(parts.squared_norms())
    counts = np.array([2, 3, 3])
    before = summed_squared_norms(parts, counts, norms)
    for part in (*parts.inputs, *parts.deltas):
        part[0] = np.nan
    after = summed_squared_norms(parts, counts, np.sqrt(parts.squared_norms()))
    assert after[1:].tobytes() == before[1:].tobytes()
