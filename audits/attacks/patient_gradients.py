"""A model's gradient for each patient by itself: an attacker computes it for records it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.common.models.registry import ModelFamily

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_ROWS = 256


def row_gradient(
    model: ModelFamily, parameters: NDArray[np.float64]
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The function from one row ``[columns]`` and its outcome to the flat gradient, by autograd.

    It can be differentiated again and mapped over rows.
    """
    import torch
    from torch.func import functional_call, grad

    module = model.module(parameters)
    values = {name: value.detach() for name, value in module.named_parameters()}

    def loss(
        chosen: dict[str, torch.Tensor], row: torch.Tensor, outcome: torch.Tensor
    ) -> torch.Tensor:
        outputs = functional_call(module, chosen, (row[None],))
        return model.row_losses(outputs, outcome[None])[0]

    gradient = grad(loss)

    def flat(row: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        parts = gradient(values, row, outcome)
        return torch.cat([parts[name].reshape(-1) for name in values])

    return flat


def patient_gradients(
    model: ModelFamily, parameters: NDArray[np.float64], cohort: Cohort
) -> NDArray[np.float64]:
    """The mean gradient over each patient's rows, ``[patients, parameters]``, not clipped."""
    import torch

    mapped = torch.func.vmap(row_gradient(model, parameters))
    rows = np.empty((len(cohort.target), model.parameter_count))
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        features = torch.from_numpy(cohort.features[part].copy())
        rows[part] = mapped(features, torch.from_numpy(cohort.target[part].copy())).numpy()
    means = np.add.reduceat(rows, cohort.offsets[:-1], axis=0)
    means /= np.diff(cohort.offsets)[:, None]
    return np.asarray(means, dtype=np.float64)
