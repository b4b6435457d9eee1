"""The multilayer perceptron in closed form: no patient's gradient is written out where it need not.

The pass over the rows runs in ``dtype`` (float32 by default), which only decides *what* a
patient's gradient is; its norm, the clip and the sum are float64. The sum of clipped gradients is
one matrix product a layer, ``delta^T diag(clip factor / rows of the patient) input``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipping import clip_factors, clipped_rows_sum
from fedward.client.vault.kernels.compensated import CompensatedSum
from fedward.client.vault.kernels.mlp_norms import GRAM_ROWS, summed_squared_norms
from fedward.client.vault.kernels.mlp_rows import RowParts, RowPass
from fedward.client.vault.kernels.patients import PatientChunk, patient_chunks
from fedward.client.vault.kernels.products import sum_outer_products
from fedward.client.vault.kernels.scratch import Scratch
from fedward.common.models.mlp import Mlp

_scratch = Scratch()


def clipped_sum(
    model: Mlp,
    parameters: NDArray[np.float64],
    cohort: Cohort,
    patients: NDArray[np.int64] | NDArray[np.bool_] | None,
    *,
    clip: float,
    block_rows: int,
    dtype: DTypeLike,
) -> NDArray[np.float64]:
    """Sum of the patients' clipped mean gradients, ``[parameter_count]``.

    Memory: ``block_rows`` rows of every layer, kept by the thread, and five vectors of parameters.
    """
    kernel = _MlpKernel(model, parameters, clip=clip, block_rows=block_rows, dtype=dtype)
    with np.errstate(all="ignore"):
        for chunk in patient_chunks(cohort, patients, rows=block_rows):
            if len(chunk.target) > block_rows:
                kernel.add_written_out(chunk)
            else:
                kernel.add_chunk(chunk)
    return kernel.total.total()


class _MlpKernel:
    def __init__(
        self,
        model: Mlp,
        parameters: NDArray[np.float64],
        *,
        clip: float,
        block_rows: int,
        dtype: DTypeLike,
    ) -> None:
        self.total = CompensatedSum(model.parameter_count)
        self._model = model
        self._clip = clip
        self._block_rows = block_rows
        self._pass = RowPass(model, parameters, dtype=dtype, scratch=_scratch)

    def add_chunk(self, chunk: PatientChunk) -> None:
        parts = self._pass.run(chunk.features, chunk.target)
        norms = np.sqrt(parts.squared_norms())
        if len(chunk.counts) == len(chunk.target):
            weights = clip_factors(norms, clip=self._clip)
        else:
            weights, written_out = self._patient_weights(parts, chunk.counts, norms)
            weights = np.where(np.isfinite(norms), weights, 0.0)
            for rows in written_out:
                gradient = self._weighted_sum(parts.take(rows), np.ones(_length(rows)))
                self._add_clipped(gradient / _length(rows))
        self.total.add(self._weighted_sum(parts, weights))

    def add_written_out(self, patient: PatientChunk) -> None:
        """Add one patient of many rows, walked in blocks from its first row."""
        gradient = np.zeros(self._model.parameter_count)
        for start in range(0, len(patient.target), self._block_rows):
            rows = slice(start, start + self._block_rows)
            parts = self._pass.run(patient.features[rows], patient.target[rows])
            gradient += self._weighted_sum(parts, np.ones(len(parts.deltas[0])))
        self._add_clipped(gradient / len(patient.target))

    def _patient_weights(
        self, parts: RowParts, counts: NDArray[np.int64], row_norms: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], tuple[slice, ...]]:
        """Each row's factor in the sum, and the rows of patients that must be written out."""
        starts = np.cumsum(counts) - counts
        norms = np.full(len(counts), np.nan)
        single = counts == 1
        norms[single] = row_norms[starts[single]]
        few = ~single & (counts <= GRAM_ROWS)
        chosen = np.repeat(few, counts)
        squares = summed_squared_norms(parts.take(chosen), counts[few], row_norms[chosen])
        norms[few] = np.sqrt(squares) / counts[few]
        # A row that is not finite loses its patient; it is not worth writing out.
        sound = np.isfinite(np.add.reduceat(row_norms, starts))
        written_out = tuple(
            slice(int(starts[patient]), int(starts[patient] + counts[patient]))
            for patient in np.flatnonzero(np.isnan(norms) & sound)
        )
        factors = np.where(sound, clip_factors(norms, clip=self._clip), 0.0) / counts
        return np.repeat(factors, counts), written_out

    def _add_clipped(self, gradient: NDArray[np.float64]) -> None:
        self.total.add(clipped_rows_sum(gradient[None], clip=self._clip))

    def _weighted_sum(self, parts: RowParts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """``sum_r weights[r] g_r``; rows of weight 0 are left out, whatever they hold.

        The deltas are multiplied by the weights in place.
        """
        gradient = np.empty(self._model.parameter_count)
        used = weights != 0
        if not used.all():
            parts, weights = parts.take(used), weights[used]
        for layer, inputs, deltas in zip(
            self._model.layers, parts.inputs, parts.deltas, strict=True
        ):
            np.matmul(weights, deltas, out=layer.bias(gradient))
            np.multiply(deltas, weights[:, None], out=deltas)
            sum_outer_products(deltas, inputs, out=layer.weight(gradient))
        return gradient


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
