"""The vault's one way to a gradient: the sum of patients' clipped mean gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels import logistic, mlp, per_sample
from fedward.common.models.logistic_regression import LogisticRegression
from fedward.common.models.mlp import Mlp
from fedward.common.models.registry import ModelFamily, is_registered

CLOSED_FORMS = (LogisticRegression, Mlp)
"""Families of the registry that have kernels of their own."""

BLOCK_VALUES = 2**22
"""Float64 values that one array of a block of rows may have."""


MOST_BLOCK_ROWS = 4096
"""Up to here the ring charges more than a block's sum rounds (see ``rounding``)."""


@dataclass(frozen=True, kw_only=True)
class KernelOptions:
    """Speed and memory only: no value here changes the clip or who is summed.

    ``auto`` takes the closed form where the family has one, and Opacus elsewhere. ``block_rows``
    is how many rows are held at once, fewer where rows or
    their gradients are long. ``precision`` is that of the pass over the rows of a
    perceptron or an Opacus module (norms, clip and sum are float64 in any case). All three must
    come from public facts, never from the data.
    """

    kernel: Literal["auto", "closed_form", "opacus"] = "auto"
    block_rows: int = 512
    precision: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        if not 1 <= self.block_rows <= MOST_BLOCK_ROWS:
            raise ValueError(f"block_rows must be from 1 to {MOST_BLOCK_ROWS}")

    def rows_of(self, width: int) -> int:
        """Rows held at once when each takes ``width`` values: at most 32 MiB, at least a row."""
        return max(1, min(self.block_rows, BLOCK_VALUES // width))


DEFAULT = KernelOptions()


def clipped_gradient_sum(
    model: ModelFamily,
    parameters: NDArray[np.float64],
    cohort: Cohort,
    patients: NDArray[np.int64] | NDArray[np.bool_] | None,
    *,
    clip: float,
    performance: KernelOptions = DEFAULT,
) -> NDArray[np.float64]:
    """Sum over ``patients`` of ``clip(mean over the patient's rows of the gradient of the loss)``.

    ``patients`` are distinct positions, a mask ``[patient_count]``, or None for everyone (nothing
    is copied). Returns float64 ``[parameter_count]``; zeros for no patients. One patient's term
    has an L2 norm of at most ``clip (1 + 1e-9)`` and depends on that patient's rows alone, to the
    bit; a patient whose gradient is not finite, or too long for float64 to square, contributes
    zero. See :func:`~fedward.client.vault.kernels.rounding.relative_rounding` for what the
    summation itself rounds.

    The sum is not private: noise is the caller's. Raises ValueError for wrong shapes, a clip that
    is not positive and finite, a model that is not from the registry, or
    ``kernel="closed_form"`` for a family without one.
    """
    if not (np.isfinite(clip) and clip > 0):
        raise ValueError("clip must be positive and finite")
    if type(model) not in CLOSED_FORMS and not is_registered(model):
        raise ValueError("only models from the registry may meet patient data")
    if parameters.shape != (model.parameter_count,):
        raise ValueError(f"parameters must be [{model.parameter_count}]")
    if cohort.features.shape[1] != model.columns:
        raise ValueError(f"the model has {model.columns} columns, the cohort another number")
    flat = np.ascontiguousarray(parameters, dtype=np.float64)
    if performance.kernel != "opacus":
        if isinstance(model, LogisticRegression):
            return logistic.clipped_sum(
                model,
                flat,
                cohort,
                patients,
                clip=clip,
                block_rows=performance.rows_of(model.parameter_count),
            )
        if isinstance(model, Mlp):
            return mlp.clipped_sum(
                model,
                flat,
                cohort,
                patients,
                clip=clip,
                block_rows=performance.rows_of(max(model.columns, *model.options.hidden)),
                dtype=performance.precision,
            )
        if performance.kernel == "closed_form":
            raise ValueError(f"{type(model).__name__} has no closed form")
    return per_sample.clipped_sum(
        model,
        flat,
        cohort,
        patients,
        clip=clip,
        block_rows=performance.rows_of(model.parameter_count),
        dtype=performance.precision,
    )
