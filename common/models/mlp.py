"""Multilayer perceptron with one logit: fully connected layers, ReLU or tanh between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedward.common.models.binary import (
    BinaryClassifier,
    checked_parameters,
    load_flat,
    sigmoid,
)
from fedward.common.models.registry import ModelOptions, register

if TYPE_CHECKING:
    import torch

Width = Annotated[int, Field(strict=True, ge=1, le=8192)]


class MlpOptions(ModelOptions):
    """Widths of the hidden layers, and what is applied after each."""

    hidden: tuple[Width, ...] = Field(default=(32,), min_length=1, max_length=4)
    activation: Literal["relu", "tanh"] = "relu"


@dataclass(frozen=True)
class Layer:
    """One fully connected layer as a slice of the flat vector: weight, then bias."""

    inputs: int
    outputs: int
    start: int

    @property
    def stop(self) -> int:
        """One past the layer's last parameter."""
        return self.start + (self.inputs + 1) * self.outputs

    def weight(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        """A view ``[outputs, inputs]`` of the flat vector."""
        end = self.start + self.inputs * self.outputs
        return flat[self.start : end].reshape(self.outputs, self.inputs)

    def bias(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        """A view ``[outputs]`` of the flat vector."""
        return flat[self.stop - self.outputs : self.stop]


@register("mlp")
@dataclass(frozen=True, kw_only=True)
class Mlp(BinaryClassifier):
    """``z = W_L f(... f(W_1 x + b_1) ...) + b_L``.

    The flat parameters go layer by layer from the input: the weight ``[outputs, inputs]`` in C
    order, then the bias ``[outputs]``; torch's own order.
    """

    options: MlpOptions
    columns: int

    options_type: ClassVar[type[ModelOptions]] = MlpOptions

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers from the input on; the last has one output."""
        widths = (self.columns, *self.options.hidden, 1)
        layers: list[Layer] = []
        start = 0
        for inputs, outputs in pairwise(widths):
            layers.append(Layer(inputs, outputs, start))
            start = layers[-1].stop
        return tuple(layers)

    @property
    def parameter_count(self) -> int:
        """Weights and biases of all layers."""
        return self.layers[-1].stop

    def initial(self, seed: int) -> NDArray[np.float64]:
        """Normal weights, zero biases.

        Variance ``2 / inputs`` before a ReLU (He et al. 2015, eq. 10), ``2 / (inputs + outputs)``
        before tanh and for the logit (Glorot and Bengio 2010, eq. 12).
        """
        generator = np.random.Generator(np.random.PCG64(seed))
        flat = np.zeros(self.parameter_count)
        for layer in self.layers:
            rectified = self.options.activation == "relu" and layer != self.layers[-1]
            fan = layer.inputs if rectified else layer.inputs + layer.outputs
            weight = layer.weight(flat)
            weight[:] = generator.standard_normal(weight.shape) * np.sqrt(2 / fan)
        return flat

    def predict(
        self, parameters: NDArray[np.float64], features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Probability of the positive class, ``[rows]``."""
        flat = checked_parameters(parameters, parameter_count=self.parameter_count)
        *hidden, last = self.layers
        activation = features
        for layer in hidden:
            activation = activation @ layer.weight(flat).T + layer.bias(flat)
            if self.options.activation == "relu":
                np.maximum(activation, 0.0, out=activation)
            else:
                np.tanh(activation, out=activation)
        return sigmoid(activation @ last.weight(flat)[0] + last.bias(flat)[0])

    def module(self, parameters: NDArray[np.float64]) -> torch.nn.Module:
        """A float64 stack of ``Linear`` layers with these parameters; logits ``[rows]``."""
        from torch import nn

        flat = checked_parameters(parameters, parameter_count=self.parameter_count)
        function = nn.ReLU if self.options.activation == "relu" else nn.Tanh
        stack: list[nn.Module] = []
        for layer in self.layers:
            stack += [nn.Linear(layer.inputs, layer.outputs), function()]
        stack[-1] = nn.Flatten(0)
        return load_flat(nn.Sequential(*stack), flat)
