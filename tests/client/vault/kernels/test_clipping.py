from __future__ import annotations

import numpy as np

from fedward.client.vault.kernels.clipping import clip_factors, clipped_rows_sum


def test_factors_bind_above_the_clip_alone() -> None:
    norms = np.array([0.0, 1.0, 2.0, 4.0, 1e300, np.inf, np.nan])
    expected = [1.0, 1.0, 1.0, 0.5, 2e-300, 0.0, 0.0]
    np.testing.assert_allclose(clip_factors(norms, clip=2.0), expected, rtol=1e-15)


def test_rows_are_clipped_one_by_one() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [np.nan, 1.0], [np.inf, 0.0], [1e200, 0.0]])
    np.testing.assert_allclose(clipped_rows_sum(rows, clip=1.0), [0.9, 1.2], rtol=1e-15)
