from __future__ import annotations

import numpy as np
import pytest

from fedward.client.vault.kernels.mlp_rows import RowParts, RowPass
from fedward.client.vault.kernels.scratch import Scratch
from fedward.common.models.mlp import Mlp, MlpOptions


def _bits(parts: RowParts, row: int) -> bytes:
    squared = parts.squared_norms()[row].tobytes()
    return squared + b"".join(p[row].tobytes() for p in (*parts.inputs, *parts.deltas))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("columns", "hidden"), [(100, (128, 64)), (13, (7, 5, 3)), (1, (33,))])
def test_a_row_is_the_same_to_the_bit_at_any_place_beside_any_rows(
    dtype: str, activation: str, columns: int, hidden: tuple[int, ...]
) -> None:
    model = Mlp(
        options=MlpOptions.model_validate({"hidden": hidden, "activation": activation}),
        columns=columns,
    )
    passing = RowPass(model, model.initial(0), dtype=dtype, scratch=Scratch())
    generator = np.random.default_rng(1)
    row = generator.standard_normal(columns)
    seen = set()
    with np.errstate(all="ignore"):
        for rows in (1, 2, 63, 64, 65, 200, 512):
            for place in {0, 1, rows // 3, rows // 2, rows - 1} & set(range(rows)):
                for loud in (1.0, 1e30, np.nan):
                    features = loud * generator.standard_normal((rows, columns))
                    features[place] = row
                    target = generator.integers(0, 2, rows).astype(np.float64)
                    target[place] = 1.0
                    seen.add(_bits(passing.run(features, target), place))
    assert len(seen) == 1


def test_not_finite_rows_show(make_cohort: object) -> None:
    model = Mlp(options=MlpOptions(hidden=(4,)), columns=2)
    passing = RowPass(model, model.initial(0), dtype="float32", scratch=Scratch())
    features = np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 0.0], [1e39, 0.0], [0.0, 1.0]])
    with np.errstate(all="ignore"):
        squared = passing.run(features, np.ones(5)).squared_norms()
    assert np.isfinite(squared).tolist() == [True, False, False, False, True]
