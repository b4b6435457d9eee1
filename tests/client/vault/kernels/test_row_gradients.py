from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedward.client.vault.kernels import row_gradients
from fedward.client.vault.kernels.row_gradients import RowGradients, batch_rows
from fedward.common.models.registry import build_model
from fedward.common.study.definition import Model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [{"hidden": [128, 64]}, {"hidden": [6, 4]}, {"hidden": [5], "activation": "tanh"}]
)
def test_a_row_is_the_same_to_the_bit_at_any_place_beside_any_rows(
    dtype: str, options: dict[str, Any]
) -> None:
    model = build_model(Model(name="mlp", options=options), columns=20)
    size = batch_rows(model, rows=48, dtype=dtype)
    gradients = RowGradients(model, model.initial(0), rows=size, dtype=dtype)
    generator = np.random.default_rng(0)
    row = generator.standard_normal(20)
    seen = set()
    for rows, place in ((1, 0), (2, 1), (30, 17), (48, 0), (48, 23), (48, 47), (100, 99)):
        features = generator.standard_normal((rows, 20))
        target = generator.integers(0, 2, rows).astype(np.float64)
        features[place], target[place] = row, 1.0
        seen.add(gradients.of(features, target)[place].tobytes())
    assert len(seen) == 1


def test_a_batch_that_mixes_rows_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(Model(name="mlp", options={"hidden": [3]}), columns=4)
    honest = RowGradients.of

    def by_place(self: RowGradients, features: Any, target: Any) -> Any:
        found = honest(self, features, target)
        if len(found) > 8:
            found[9:] *= 1 + 2**-50
        return found

    batch_rows.cache_clear()
    monkeypatch.setattr(row_gradients.RowGradients, "of", by_place)
    assert batch_rows(model, rows=100, dtype="float64") <= 8
    batch_rows.cache_clear()
    monkeypatch.setattr(
        row_gradients.RowGradients,
        "of",
        lambda self, x, y: honest(self, x, y) * (1 + 1e-3 * np.nan_to_num(x).mean()),
    )
    assert batch_rows(model, rows=100, dtype="float64") == 1
    batch_rows.cache_clear()
