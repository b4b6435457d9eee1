"""Gradients of single rows by Opacus, in batches that torch is seen to treat row by row."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedward.common.models.registry import ModelFamily, is_registered

TRIALS = 4


class RowGradients:
    """Opacus's ``GradSampleModule`` with fixed parameters, on batches of one fixed shape.

    Short batches are padded with zero rows. Raises ValueError for a model that is not registered
    and Opacus's ``UnsupportedModuleError`` for a module that its validator refuses.
    """

    def __init__(
        self, model: ModelFamily, parameters: NDArray[np.float64], *, rows: int, dtype: str
    ) -> None:
        import torch
        from opacus import GradSampleModule
        from opacus.validators import ModuleValidator

        if not is_registered(model):
            raise ValueError("only models from the registry may meet patient data")
        self.length = model.parameter_count
        self._model = model
        self._rows = rows
        self._dtype = getattr(torch, dtype)
        module = model.module(parameters).to(self._dtype).train()
        ModuleValidator.validate(module, strict=True)
        self._module = GradSampleModule(module, loss_reduction="sum", strict=True)

    def of(self, features: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
        """The gradient of each row's loss, ``[rows, parameter_count]``, float64."""
        gradients = np.empty((len(target), self.length))
        for start in range(0, len(target), self._rows):
            rows = slice(start, start + self._rows)
            self._batch(features[rows], target[rows], out=gradients[rows])
        return gradients

    def _batch(
        self,
        features: NDArray[np.float64],
        target: NDArray[np.float64],
        *,
        out: NDArray[np.float64],
    ) -> None:
        import torch

        count = len(target)
        inputs = torch.zeros((self._rows, features.shape[1]), dtype=self._dtype)
        labels = torch.zeros(self._rows, dtype=self._dtype)
        inputs[:count] = torch.from_numpy(features.copy())
        labels[:count] = torch.from_numpy(target.copy())
        losses = self._model.row_losses(self._module(inputs), labels)
        with warnings.catch_warnings():
            # The first layer's hook says that its inputs need no gradient; they do not.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses.sum().backward()  # type: ignore[no-untyped-call]
        column = 0
        for parameter in self._module.parameters():
            sample = parameter.grad_sample.detach()[:count].reshape(count, -1).numpy()
            out[:, column : column + sample.shape[1]] = sample
            column += sample.shape[1]
            parameter.grad_sample = None
            parameter.grad = None


@lru_cache(maxsize=64)
def batch_rows(model: ModelFamily, *, rows: int, dtype: str) -> int:
    """The largest of a few batch sizes up to ``rows`` in which torch treats every row alike.

    A patient's gradient must not change with its neighbours, but a matrix product or a vectorised
    function may round a row by its place in the batch, and for narrow layers torch's do. So each
    size is tried on random rows at several places; one row at a time is always right, and slow.
    Powers of two alone are tried: the odd rows at the end of another size differ too seldom to be
    found out by a few trials.
    """
    for size in (512, 256, 64, 32, 8):
        if size <= rows and _rows_stay_apart(model, size, dtype):
            return size
    return 1


def _rows_stay_apart(model: ModelFamily, rows: int, dtype: str) -> bool:
    generator = np.random.Generator(np.random.PCG64(20240229))
    for _ in range(TRIALS):
        parameters = 0.5 * generator.standard_normal(model.parameter_count)
        gradients = RowGradients(model, parameters, rows=rows, dtype=dtype)
        features = generator.standard_normal((rows, model.columns))
        target = generator.integers(0, 2, rows).astype(np.float64)
        expected = gradients.of(features, target)
        for shift in {1, 17 % rows, rows // 2}:
            moved = gradients.of(np.roll(features, shift, axis=0), np.roll(target, shift))
            if moved.tobytes() != np.roll(expected, shift, axis=0).tobytes():
                return False
        features[::2] = np.nan
        if gradients.of(features, target)[1::2].tobytes() != expected[1::2].tobytes():
            return False
    return True
