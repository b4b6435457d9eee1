from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.audits.attacks.patient_gradients import patient_gradients
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import KernelOptions, clipped_gradient_sum
from fedward.common.models.registry import build_model
from fedward.common.study.definition import Model

MODELS = [
    Model(name="logistic_regression"),
    Model(name="mlp", options={"hidden": [5, 3], "activation": "tanh"}),
    Model(name="mlp", options={"hidden": [5], "activation": "relu"}),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name} {model.options}")
def test_each_patient_has_the_gradient_that_the_vault_sums(
    model: Model, make_cohort: Callable[..., Cohort]
) -> None:
    built = build_model(model, columns=3)
    cohort = make_cohort(9, seed=1)
    parameters = np.random.default_rng(0).standard_normal(built.parameter_count)
    exact = KernelOptions(precision="float64")

    found = patient_gradients(built, parameters, cohort)

    assert found.shape == (9, built.parameter_count)
    for patient in range(9):
        alone = clipped_gradient_sum(
            built, parameters, cohort, np.array([patient]), clip=1e6, performance=exact
        )
        np.testing.assert_allclose(found[patient], alone, rtol=1e-9, atol=1e-12)
