from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.common.models.mlp import Mlp, MlpOptions
from fedward.common.models.registry import build_model
from fedward.common.study.definition import Model


@settings(max_examples=30, deadline=None)
@given(
    columns=st.integers(1, 6),
    hidden=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    activation=st.sampled_from(["relu", "tanh"]),
    seed=st.integers(0, 2**32),
)
def test_module_agrees_and_comes_back(
    columns: int, hidden: list[int], activation: str, seed: int
) -> None:
    model = build_model(
        Model(name="mlp", options={"hidden": hidden, "activation": activation}), columns=columns
    )
    generator = np.random.default_rng(seed)
    flat = generator.standard_normal(model.parameter_count)
    features = generator.standard_normal((5, columns))
    module = model.module(flat)
    assert sum(p.numel() for p in module.parameters()) == model.parameter_count
    logits = module(torch.from_numpy(features))
    assert logits.shape == (5,)
    np.testing.assert_allclose(
        torch.sigmoid(logits).detach().numpy(), model.predict(flat, features), rtol=1e-9
    )
    np.testing.assert_array_equal(model.flatten(module), flat)


def test_layout_is_as_documented() -> None:
    model = Mlp(options=MlpOptions(hidden=(2,)), columns=3)
    flat = np.arange(11.0)
    first, last = model.layers
    assert first.weight(flat).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert first.bias(flat).tolist() == [6, 7]
    assert last.weight(flat).tolist() == [[8, 9]]
    assert last.bias(flat).tolist() == [10]
    assert model.parameter_count == 11


@pytest.mark.parametrize(
    ("activation", "variances"), [("relu", (2 / 200, 2 / 301)), ("tanh", (2 / 500, 2 / 301))]
)
def test_initial_has_the_stated_variance(activation: str, variances: tuple[float, float]) -> None:
    options = MlpOptions.model_validate({"hidden": (300,), "activation": activation})
    model = Mlp(options=options, columns=200)
    flat = model.initial(3)
    for layer, variance in zip(model.layers, variances, strict=True):
        weight = layer.weight(flat)
        spread = np.sqrt(2 / weight.size)  # relative standard error of a normal's variance
        assert weight.var() == pytest.approx(variance, rel=5 * spread)
        assert not layer.bias(flat).any()


def test_initial_follows_the_seed_alone() -> None:
    model = Mlp(options=MlpOptions(hidden=(5,)), columns=4)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(model.initial(1), model.initial(1))
    assert (model.initial(1) != model.initial(2)).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
