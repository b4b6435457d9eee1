from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.common.models.registry import ModelFamily

Vector = NDArray[np.float64]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    """A cohort with these rows per patient, from a seed."""

    def make(counts: list[int], columns: int, seed: int = 0, scale: float = 1.0) -> Cohort:
        generator = np.random.default_rng(seed)
        rows = sum(counts)
        return Cohort(
            features=scale * generator.standard_normal((rows, columns)),
            target=generator.integers(0, 2, rows).astype(np.float64),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    return make


@pytest.fixture(scope="session")
def patient_gradients() -> Callable[[ModelFamily, Vector, Cohort], Vector]:
    """Each patient's mean gradient ``[patients, parameters]`` by autograd, one after another."""

    def gradients(model: ModelFamily, parameters: Vector, cohort: Cohort) -> Vector:
        found = np.zeros((cohort.patient_count, model.parameter_count))
        for patient in range(cohort.patient_count):
            rows = slice(cohort.offsets[patient], cohort.offsets[patient + 1])
            module = model.module(parameters)
            logits = module(torch.tensor(cohort.features[rows]))
            model.row_losses(logits, torch.tensor(cohort.target[rows])).mean().backward()
            found[patient] = torch.cat([p.grad.ravel() for p in module.parameters()]).numpy()
        return found

    return gradients


@pytest.fixture(scope="session")
def brute_force(
    patient_gradients: Callable[[ModelFamily, Vector, Cohort], Vector],
) -> Callable[..., Vector]:
    """The clipped sum from gradients written out by autograd."""

    def clipped(model: ModelFamily, parameters: Vector, cohort: Cohort, clip: float) -> Vector:
        gradients = patient_gradients(model, parameters, cohort)
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        return (gradients * np.minimum(1, clip / np.maximum(norms, 1e-300))).sum(axis=0)

    return clipped
