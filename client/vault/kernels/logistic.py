"""Logistic regression in closed form, float64 throughout.

The gradient of a row's log loss is ``(p - y) (x, 1)``, so one row's norm is
``|p - y| sqrt(|x|^2 + 1)`` and no gradient of a patient with one row is ever written out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipping import clip_factors, clipped_rows_sum
from fedward.client.vault.kernels.compensated import CompensatedSum
from fedward.client.vault.kernels.patients import PatientChunk, patient_chunks
from fedward.common.models.binary import sigmoid
from fedward.common.models.logistic_regression import LogisticRegression


def clipped_sum(
    model: LogisticRegression,
    parameters: NDArray[np.float64],
    cohort: Cohort,
    patients: NDArray[np.int64] | NDArray[np.bool_] | None,
    *,
    clip: float,
    block_rows: int,
) -> NDArray[np.float64]:
    """Sum of the patients' clipped mean gradients, ``[columns + 1]``."""
    total = CompensatedSum(model.parameter_count)
    with np.errstate(all="ignore"):
        for chunk in patient_chunks(cohort, patients, rows=block_rows):
            if len(chunk.target) > block_rows:
                mean = _mean_gradient(parameters, chunk, block_rows=block_rows)
                total.add(clipped_rows_sum(mean[None], clip=clip))
                continue
            # How a patient is computed depends on its own rows alone, never on its neighbours.
            single, several = chunk.by_row_count()
            if single is not None:
                total.add(_single_rows(parameters, single, clip=clip))
            if several is not None:
                total.add(_many_rows(parameters, several, clip=clip))
    return total.total()


def _residuals(parameters: NDArray[np.float64], chunk: PatientChunk) -> NDArray[np.float64]:
    # einsum works row by row; a BLAS product would round a row by its place in the batch.
    logits = np.einsum("rc,c->r", chunk.features, parameters[:-1]) + parameters[-1]
    residuals: NDArray[np.float64] = sigmoid(logits) - chunk.target
    return residuals


def _single_rows(
    parameters: NDArray[np.float64], chunk: PatientChunk, *, clip: float
) -> NDArray[np.float64]:
    features = chunk.features
    residuals = _residuals(parameters, chunk)
    norms = np.abs(residuals) * np.sqrt(np.vecdot(features, features) + 1.0)
    weights = clip_factors(norms, clip=clip) * residuals
    lost = ~np.isfinite(norms)
    if lost.any():
        weights[lost] = 0.0
        features = np.where(lost[:, None], 0.0, features)
    return np.append(weights @ features, weights.sum())


def _many_rows(
    parameters: NDArray[np.float64], chunk: PatientChunk, *, clip: float
) -> NDArray[np.float64]:
    gradients = _row_gradients(parameters, chunk)
    means = np.add.reduceat(gradients, chunk.starts, axis=0)
    means /= chunk.counts[:, None]
    return clipped_rows_sum(means, clip=clip)


def _mean_gradient(
    parameters: NDArray[np.float64], patient: PatientChunk, *, block_rows: int
) -> NDArray[np.float64]:
    """One patient's mean gradient, its rows walked in blocks from its first."""
    total = np.zeros(len(parameters))
    for start in range(0, len(patient.target), block_rows):
        rows = slice(start, start + block_rows)
        block = PatientChunk(patient.features[rows], patient.target[rows], patient.counts)
        total += _row_gradients(parameters, block).sum(axis=0)
    total /= len(patient.target)
    return total


def _row_gradients(parameters: NDArray[np.float64], chunk: PatientChunk) -> NDArray[np.float64]:
    gradients = np.empty((len(chunk.target), len(parameters)))
    residuals = _residuals(parameters, chunk)
    np.multiply(residuals[:, None], chunk.features, out=gradients[:, :-1])
    gradients[:, -1] = residuals
    return gradients
