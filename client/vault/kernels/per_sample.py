"""Any registered module: per-row gradients by Opacus, grouped by patient, clipped, summed.

Every row's gradient is written out, in chunks of bounded memory. This is the reference for the
closed forms and the way for families that have none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipping import clipped_rows_sum
from fedward.client.vault.kernels.compensated import CompensatedSum
from fedward.client.vault.kernels.patients import PatientChunk, patient_chunks
from fedward.client.vault.kernels.row_gradients import RowGradients, batch_rows
from fedward.common.models.registry import ModelFamily


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
    size = batch_rows(model, rows=block_rows, dtype=dtype)
    gradients = RowGradients(model, parameters, rows=size, dtype=dtype)
    total = CompensatedSum(model.parameter_count)
    with np.errstate(all="ignore"):
        for chunk in patient_chunks(cohort, patients, rows=block_rows):
            if len(chunk.target) > block_rows:
                mean = _mean_gradient(gradients, chunk, block_rows=block_rows)
                total.add(clipped_rows_sum(mean[None], clip=clip))
                continue
            of_rows = gradients.of(chunk.features, chunk.target)
            means = np.add.reduceat(of_rows, chunk.starts, axis=0)
            means /= chunk.counts[:, None]
            total.add(clipped_rows_sum(means, clip=clip))
    return total.total()


def _mean_gradient(
    gradients: RowGradients, patient: PatientChunk, *, block_rows: int
) -> NDArray[np.float64]:
    """One patient's mean gradient, its rows walked in blocks from its first."""
    total = np.zeros(gradients.length)
    for start in range(0, len(patient.target), block_rows):
        rows = slice(start, start + block_rows)
        total += gradients.of(patient.features[rows], patient.target[rows]).sum(axis=0)
    total /= len(patient.target)
    return total
