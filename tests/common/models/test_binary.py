from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedward.common.models.binary import (
    BinaryClassifier,
    checked_parameters,
    load_flat,
    sigmoid,
)


def test_sigmoid_is_exact_and_does_not_overflow() -> None:
    logits = np.array([-800.0, -30.0, -1.0, 0.0, 2.0, 30.0, 800.0, np.inf, -np.inf])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = sigmoid(logits)
    expected = [
        math.exp(z) / (1 + math.exp(z)) if z < 0 else 1 / (1 + math.exp(-z)) for z in logits
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0)
    assert np.isnan(sigmoid(np.array([np.nan]))[0])


def test_row_losses_are_the_log_loss() -> None:
    logits, target = np.array([-3.0, 0.5, 4.0]), np.array([1.0, 0.0, 1.0])
    p = sigmoid(logits)
    expected = -target * np.log(p) - (1 - target) * np.log(1 - p)
    found = BinaryClassifier().row_losses(torch.from_numpy(logits), torch.from_numpy(target))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_parameters_are_checked_and_copied() -> None:
    with pytest.raises(ValueError, match=r"\[3\]"):
        checked_parameters(np.zeros(4), parameter_count=3)
    flat = np.arange(3.0)
    module = load_flat(torch.nn.Linear(2, 1), flat)
    flat[:] = 9
    assert BinaryClassifier().flatten(module).tolist() == [0.0, 1.0, 2.0]
