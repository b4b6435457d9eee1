"""Probabilities in which a row's bits depend on that row and the parameters alone.

A held-out patient's score is counted in a bin, so one bit may move it from one to another. Were it
to depend on who else is there, whoever chooses the parameters (weights that cancel, times 2^60)
could have one patient move the scores of many, and the sum's sensitivity would be theirs to set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedward.client.vault.kernels.products import ROWS, multiply_rows, padded_rows
from fedward.common.models.binary import sigmoid
from fedward.common.models.logistic_regression import LogisticRegression
from fedward.common.models.mlp import Mlp
from fedward.common.models.registry import ModelFamily, is_registered

BLOCK_VALUES = 2**20
"""Float64 values that a block of rows may have in one layer."""
MOST_BLOCK_ROWS = 4096

Floats = NDArray[np.float64]


def row_probabilities(model: ModelFamily, parameters: Floats, features: Floats) -> Floats:
    """Each row's probability of the positive class ``[rows]``, of ``features [rows, columns]``.

    Agrees with ``model.predict`` but for rounding. Rows run in blocks that zeros fill up, so a
    row's result does not depend on its place, on its neighbours or on how many there are. NaN for a
    row that the parameters make nothing finite of. Raises ValueError for wrong shapes, and for a
    model that is not from the registry.
    """
    if not is_registered(model):
        raise ValueError("only models from the registry may meet patient data")
    if features.ndim != 2 or features.shape[1] != model.columns:
        raise ValueError(f"features must be [rows, {model.columns}], not {list(features.shape)}")
    if parameters.shape != (model.parameter_count,):
        raise ValueError(f"parameters must be [{model.parameter_count}]")
    flat = np.ascontiguousarray(parameters, dtype=np.float64)
    with np.errstate(all="ignore"):
        if isinstance(model, LogisticRegression):
            return _in_blocks(
                features,
                lambda block: sigmoid(weighted_columns(block, flat[:-1]) + flat[-1]),
                width=model.columns,
            )
        if isinstance(model, Mlp):
            widest = max(model.columns, *model.options.hidden)
            return _in_blocks(features, _Perceptron(model, flat).probabilities, width=widest)
        return _row_by_row(model, flat, features)


def weighted_columns(rows: Floats, weights: Floats) -> Floats:
    """``rows @ weights``, ``[rows]``, column after column.

    Whole columns are multiplied and added, and IEEE 754 rounds a product or a sum alike wherever it
    stands; what a BLAS product does is left to its library.
    """
    total = np.zeros(len(rows))
    product = np.empty(len(rows))
    for column, weight in zip(np.ascontiguousarray(rows.T), weights, strict=True):
        np.multiply(column, weight, out=product)
        total += product
    return total


class _Perceptron:
    """The forward pass in float64, over blocks of whole :data:`ROWS` rows."""

    def __init__(self, model: Mlp, flat: Floats) -> None:
        *hidden, last = model.layers
        self._hidden = [
            (np.ascontiguousarray(layer.weight(flat).T), layer.bias(flat)) for layer in hidden
        ]
        self._last = last.weight(flat)[0], last.bias(flat)[0]
        self._rectified = model.options.activation == "relu"

    def probabilities(self, block: Floats) -> Floats:
        activation = block
        for weights, bias in self._hidden:
            out = np.empty((len(block), weights.shape[1]))
            multiply_rows(activation, weights, out=out)
            out += bias
            if self._rectified:
                np.maximum(out, 0.0, out=out)
            else:
                np.tanh(out, out=out)
            activation = out
        weights, bias = self._last
        return sigmoid(weighted_columns(activation, weights) + bias)


def _in_blocks(features: Floats, of_block: Callable[[Floats], Floats], *, width: int) -> Floats:
    """``of_block`` over blocks of whole :data:`ROWS` rows, the last filled up with zeros."""
    rows = max(ROWS, min(MOST_BLOCK_ROWS, BLOCK_VALUES // width) // ROWS * ROWS)
    found = np.empty(len(features))
    for start in range(0, len(features), rows):
        part = features[start : start + rows]
        block = np.zeros((padded_rows(len(part)), features.shape[1]))
        block[: len(part)] = part
        found[start : start + rows] = of_block(block)[: len(part)]
    return found


def _row_by_row(model: ModelFamily, flat: Floats, features: Floats) -> Floats:
    """What a family without a kernel predicts of each row when that row is all it is shown."""
    found = np.empty(len(features))
    one = np.empty((1, features.shape[1]))
    for row, values in enumerate(features):
        one[0] = values
        found[row] = model.predict(flat, one)[0]
    return found
