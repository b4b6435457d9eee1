"""Logistic regression: one weight a column and a bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedward.common.models.binary import (
    BinaryClassifier,
    checked_parameters,
    load_flat,
    sigmoid,
)
from fedward.common.models.registry import ModelOptions, register

if TYPE_CHECKING:
    import torch


class LogisticRegressionOptions(ModelOptions):
    """There is nothing to choose."""


@register("logistic_regression")
@dataclass(frozen=True, kw_only=True)
class LogisticRegression(BinaryClassifier):
    """``p = sigmoid(x . w + b)``; the flat parameters are ``w [columns]``, then ``b``."""

    options: LogisticRegressionOptions
    columns: int

    options_type: ClassVar[type[ModelOptions]] = LogisticRegressionOptions

    @property
    def parameter_count(self) -> int:
        """``columns + 1``."""
        return self.columns + 1

    def initial(self, seed: int) -> NDArray[np.float64]:  # noqa: ARG002
        """Zeros: the loss is convex, so there is nothing to break the symmetry of."""
        return np.zeros(self.parameter_count)

    def predict(
        self, parameters: NDArray[np.float64], features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Probability of the positive class, ``[rows]``."""
        flat = checked_parameters(parameters, parameter_count=self.parameter_count)
        return sigmoid(features @ flat[:-1] + flat[-1])

    def module(self, parameters: NDArray[np.float64]) -> torch.nn.Module:
        """A float64 ``Linear`` with these parameters; logits ``[rows]``."""
        from torch import nn

        flat = checked_parameters(parameters, parameter_count=self.parameter_count)
        return load_flat(nn.Sequential(nn.Linear(self.columns, 1), nn.Flatten(0)), flat)
