"""Clipped gradients by brute force: torch's autograd, one patient after the other, float64.

Independent of the vault's kernels on purpose, and far too slow for training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.common.models.registry import ModelFamily


def patient_gradient(
    model: ModelFamily,
    parameters: NDArray[np.float64],
    features: NDArray[np.float64],
    target: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Gradient of one patient's mean loss over its rows, ``[parameter_count]``, not clipped."""
    import torch

    module = model.module(parameters)
    outputs = module(torch.from_numpy(np.array(features, dtype=np.float64)))
    loss = model.row_losses(outputs, torch.from_numpy(np.array(target, dtype=np.float64))).mean()
    parts = torch.autograd.grad(loss, list(module.parameters()))
    return np.concatenate([part.numpy().ravel() for part in parts])


def clipped_gradients(
    model: ModelFamily,
    parameters: NDArray[np.float64],
    cohort: Cohort,
    *,
    clip: float,
) -> NDArray[np.float64]:
    """Every patient's mean gradient, scaled down to the L2 norm ``clip``: ``[patients, params]``.

    Abadi et al. 2016, algorithm 1, with the patient as the unit.
    """
    gradients = np.empty((cohort.patient_count, model.parameter_count))
    for patient in range(cohort.patient_count):
        rows = slice(int(cohort.offsets[patient]), int(cohort.offsets[patient + 1]))
        gradient = patient_gradient(model, parameters, cohort.features[rows], cohort.target[rows])
        norm = float(np.linalg.norm(gradient))
        gradients[patient] = gradient if norm <= clip else gradient * (clip / norm)
    return gradients


def first_layer_width(model: ModelFamily) -> int:
    """How many parameters meet each design column, by the shape of the module's first weight.

    Raises ValueError for a family whose first parameter is not ``[outputs, columns]``.
    """
    weight = next(iter(model.module(model.initial(0)).parameters()))
    if weight.ndim != 2 or weight.shape[1] != model.columns:
        raise ValueError(f"{type(model).__name__} does not begin with a weight for each column")
    return int(weight.shape[0])
