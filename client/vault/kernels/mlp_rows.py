"""Forward and backward pass of the perceptron: what each layer saw and what reached it, by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedward.client.vault.kernels.products import ROWS, multiply_rows, padded_rows
from fedward.client.vault.kernels.scratch import Scratch
from fedward.common.models.binary import sigmoid
from fedward.common.models.mlp import Mlp

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class RowParts:
    """The gradient of each row's loss in factors: for layer ``l``, ``deltas[l] x (inputs[l], 1)``.

    ``inputs[l]`` is ``[rows, layer inputs]``, ``deltas[l]`` ``[rows, layer outputs]``, float64.
    """

    inputs: tuple[NDArray[np.float64], ...]
    deltas: tuple[NDArray[np.float64], ...]
    squares: NDArray[np.float64] | None = None
    """What :meth:`squared_norms` answers, where the pass has found it on its way."""

    def squared_norms(self) -> NDArray[np.float64]:
        """Squared norm of each row's gradient over all layers, ``|delta|^2 (|input|^2 + 1)``.

        Goodfellow 2015, "Efficient per-example gradient computations", section 4.
        """
        if self.squares is not None:
            return self.squares
        total = np.zeros(len(self.deltas[0]))
        for inputs, deltas in zip(self.inputs, self.deltas, strict=True):
            total += np.vecdot(deltas, deltas) * (np.vecdot(inputs, inputs) + 1.0)
        return total

    def take(self, rows: slice | NDArray[np.bool_]) -> RowParts:
        """These rows."""
        return RowParts(
            tuple(part[rows] for part in self.inputs), tuple(part[rows] for part in self.deltas)
        )


class RowPass:
    """The perceptron with parameters rounded to ``dtype``, run on rows.

    A row's result depends on the row and the parameters alone, to the bit, whatever rows stand
    beside it (see :mod:`fedward.client.vault.kernels.products`).
    """

    def __init__(
        self,
        model: Mlp,
        parameters: NDArray[np.float64],
        *,
        dtype: DTypeLike,
        scratch: Scratch,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._scratch = scratch
        self._rectified = model.options.activation == "relu"
        with np.errstate(over="ignore"):
            # Too large for the dtype becomes infinite, and its patients contribute zero.
            rounded = parameters.astype(dtype)
        self._weights = [layer.weight(rounded) for layer in model.layers]
        self._biases = [layer.bias(rounded) for layer in model.layers]
        self._forward = [np.ascontiguousarray(weight.T) for weight in self._weights]

    def run(self, features: NDArray[np.float64], target: NDArray[np.float64]) -> RowParts:
        """Run rows ``[rows, columns]`` through; not finite in, not finite out.

        The parts lie in the scratch arrays and last until the next run.
        """
        # Each array is widened and its norms taken while it is still in the processor's cache.
        rows = len(target)
        last = len(self._weights) - 1
        activations = [self._padded(features)]
        inputs = [features]
        widths = [np.vecdot(features, features) + 1.0]
        for layer in range(last):
            activations.append(self._hidden(activations[-1], layer))
            inputs.append(self._wide(f"wide {layer}", activations[-1], rows))
            widths.append(np.vecdot(inputs[-1], inputs[-1]) + 1.0)
        delta = self._array(f"delta {last}", len(activations[0]), 1)
        multiply_rows(activations[-1], self._forward[-1], out=delta)
        delta += self._biases[-1]
        delta[:rows, 0] = sigmoid(delta[:rows, 0].astype(np.float64)) - target
        delta[rows:] = 0.0
        deltas = [self._wide(f"wide delta {last}", delta, rows)]
        squares = np.vecdot(deltas[-1], deltas[-1]) * widths[-1]
        for layer in range(last - 1, -1, -1):
            delta = self._before(delta, activations[layer + 1], layer)
            deltas.append(self._wide(f"wide delta {layer}", delta, rows))
            squares += np.vecdot(deltas[-1], deltas[-1]) * widths[layer]
        return RowParts(tuple(inputs), tuple(reversed(deltas)), squares)

    def _hidden(self, inputs: Floats, layer: int) -> Floats:
        """What the layer makes of its inputs."""
        weights = self._forward[layer]
        out = self._array(f"activation {layer}", len(inputs), weights.shape[1])
        multiply_rows(inputs, weights, out=out)
        out += self._biases[layer]
        if self._rectified:
            # Four times as fast as against a scalar, which numpy does not vectorise.
            zeros = self._array("zeros", ROWS, out.shape[1])
            zeros.fill(0)
            blocks = out.reshape(-1, ROWS, out.shape[1])
            np.maximum(blocks, zeros, out=blocks)
        else:
            np.tanh(out, out=out)
        return out

    def _before(self, delta: Floats, activation: Floats, layer: int) -> Floats:
        """The layer's delta from that of the next layer and its own activation."""
        weights = self._weights[layer + 1]
        out = self._array(f"delta {layer}", len(delta), weights.shape[1])
        if weights.shape[0] == 1:
            np.multiply(delta, weights, out=out)
        else:
            multiply_rows(delta, weights, out=out)
        if self._rectified:
            out *= activation > 0
        else:
            slope = self._array("slope", *activation.shape)
            np.square(activation, out=slope)
            np.subtract(self._dtype.type(1), slope, out=slope)
            out *= slope
        return out

    def _padded(self, features: NDArray[np.float64]) -> Floats:
        padded = self._array("features", padded_rows(len(features)), features.shape[1])
        padded[: len(features)] = features
        padded[len(features) :] = 0.0
        return padded

    def _wide(self, name: str, part: Floats, rows: int) -> NDArray[np.float64]:
        wide = self._scratch.float64(name, (rows, part.shape[1]))
        wide[:] = part[:rows]
        return wide

    def _array(self, name: str, rows: int, width: int) -> Floats:
        return self._scratch.array(name, (rows, width), self._dtype)
