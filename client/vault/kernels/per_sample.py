"""Any registered module: per-row gradients by Opacus, grouped by patient, clipped, summed.

Every row's gradient is written out, in chunks of bounded memory. This is the reference for the
closed forms and the way for families that have none. Rows go through torch in batches of one fixed
shape; that torch then treats a row alike at every place of the batch is shown by test for the
families of the registry, not checked at run time.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipping import clipped_rows_sum
from fedward.client.vault.kernels.compensated import CompensatedSum
from fedward.client.vault.kernels.patients import PatientChunk, patient_chunks
from fedward.common.models.registry import ModelFamily, is_registered


def clipped_sum(
    model: ModelFamily,
    parameters: NDArray[np.float64],
    cohort: Cohort,
    patients: NDArray[np.int64] | NDArray[np.bool_] | None,
    *,
    clip: float,
    block_rows: int,
    dtype: str,
) -> NDArray[np.float64]:
    """Sum of the patients' clipped mean gradients, ``[parameter_count]``.

    Raises ValueError for a model that is not registered and Opacus's
    ``UnsupportedModuleError`` for a module that its validator refuses (BatchNorm, for one).
    """
    total = CompensatedSum(model.parameter_count)
    gradients = _RowGradients(model, parameters, rows=block_rows, dtype=dtype)
    with np.errstate(all="ignore"):
        for chunk in patient_chunks(cohort, patients, rows=block_rows):
            if len(chunk.target) > block_rows:
                total.add(clipped_rows_sum(gradients.mean(chunk)[None], clip=clip))
                continue
            means = np.add.reduceat(gradients.of(chunk), chunk.starts, axis=0)
            means /= chunk.counts[:, None]
            total.add(clipped_rows_sum(means, clip=clip))
    return total.total()


class _RowGradients:
    """Opacus's ``GradSampleModule`` on batches of one fixed shape.

    Short batches are padded with zero rows, because a matrix product rounds a row differently in
    another shape, and a patient's gradient must not depend on its neighbours.
    """

    def __init__(
        self, model: ModelFamily, parameters: NDArray[np.float64], *, rows: int, dtype: str
    ) -> None:
        import torch
        from opacus import GradSampleModule
        from opacus.validators import ModuleValidator

        if not is_registered(model):
            raise ValueError("only models from the registry may meet patient data")
        self._model = model
        self._rows = rows
        self._dtype = getattr(torch, dtype)
        module = model.module(parameters).to(self._dtype).train()
        ModuleValidator.validate(module, strict=True)
        self._module = GradSampleModule(module, loss_reduction="sum", strict=True)

    def of(self, chunk: PatientChunk) -> NDArray[np.float64]:
        """``[rows, parameter_count]``, float64, of a chunk that fits one batch."""
        import torch

        count = len(chunk.target)
        features = torch.zeros((self._rows, chunk.features.shape[1]), dtype=self._dtype)
        target = torch.zeros(self._rows, dtype=self._dtype)
        features[:count] = torch.from_numpy(chunk.features.astype(np.float64))
        target[:count] = torch.from_numpy(chunk.target.astype(np.float64))
        losses = self._model.row_losses(self._module(features), target)
        with warnings.catch_warnings():
            # The first layer's hook says that its inputs need no gradient; they do not.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses.sum().backward()
        gradients = np.empty((count, self._model.parameter_count))
        column = 0
        for parameter in self._module.parameters():
            sample = parameter.grad_sample.detach()[:count].reshape(count, -1).numpy()
            gradients[:, column : column + sample.shape[1]] = sample
            column += sample.shape[1]
            parameter.grad_sample = None
            parameter.grad = None
        return gradients

    def mean(self, patient: PatientChunk) -> NDArray[np.float64]:
        """The mean gradient of one patient of many rows, batch by batch from its first row."""
        total = np.zeros(self._model.parameter_count)
        for start in range(0, len(patient.target), self._rows):
            rows = slice(start, start + self._rows)
            block = PatientChunk(patient.features[rows], patient.target[rows], patient.counts)
            total += self.of(block).sum(axis=0)
        total /= len(patient.target)
        return total
