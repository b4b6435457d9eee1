from __future__ import annotations

import numpy as np
import pytest
import torch

from fedward.common.models.registry import build_model
from fedward.common.study.definition import Model


def test_layout_is_weights_then_bias() -> None:
    model = build_model(Model(name="logistic_regression"), columns=2)
    assert model.parameter_count == 3
    probability = model.predict(np.array([1.0, -2.0, 0.5]), np.array([[3.0, 1.0]]))
    assert probability == pytest.approx([1 / (1 + np.exp(-1.5))])


def test_starts_from_zero() -> None:
    model = build_model(Model(name="logistic_regression"), columns=4)
    assert model.initial(7).tolist() == [0.0] * 5


def test_module_agrees_and_comes_back() -> None:
    model = build_model(Model(name="logistic_regression"), columns=4)
    generator = np.random.default_rng(1)
    flat, features = generator.standard_normal(5), generator.standard_normal((6, 4))
    module = model.module(flat)
    logits = module(torch.from_numpy(features))
    assert logits.shape == (6,)
    np.testing.assert_allclose(
        torch.sigmoid(logits).detach().numpy(), model.predict(flat, features), rtol=1e-12
    )
    np.testing.assert_array_equal(model.flatten(module), flat)
    with pytest.raises(ValueError, match=r"\[5\]"):
        model.module(np.zeros(4))
    with pytest.raises(ValueError, match=r"\[5\]"):
        model.predict(np.zeros(4), features)
