"""What all models with one logit per row share: probability, log loss and flat parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 / (1 + exp(-z))`` elementwise without overflow; NaN stays NaN."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def checked_parameters(
    parameters: NDArray[np.float64], *, parameter_count: int
) -> NDArray[np.float64]:
    """The parameters as float64; a ValueError if their shape is not ``[parameter_count]``."""
    if parameters.shape != (parameter_count,):
        raise ValueError(f"parameters must be [{parameter_count}], not {list(parameters.shape)}")
    return np.asarray(parameters, dtype=np.float64)


class BinaryClassifier:
    """Mixin of the torch side of a model whose module returns one logit per row.

    The flat vector is ``module.parameters()`` in order, each in C order.
    """

    def row_losses(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The log loss ``-y log p - (1 - y) log(1 - p)`` of each row, from its logit."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(outputs, target, reduction="none")

    def flatten(self, module: torch.nn.Module) -> NDArray[np.float64]:
        """The module's parameters as one float64 vector."""
        pieces = [p.detach().cpu().double().numpy().ravel() for p in module.parameters()]
        return np.concatenate(pieces)


def load_flat(module: torch.nn.Module, parameters: NDArray[np.float64]) -> torch.nn.Module:
    """Make ``module`` float64 and copy the flat parameters into it; returns the module."""
    import torch

    module.double()
    flat = torch.from_numpy(np.array(parameters, dtype=np.float64))
    torch.nn.utils.vector_to_parameters(flat, module.parameters())
    return module
