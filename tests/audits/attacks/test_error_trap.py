from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.audits.attacks.error_trap import read_by_errors
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import clipped_gradient_sum
from fedward.common.models.logistic_regression import (
    LogisticRegression,
    LogisticRegressionOptions,
)

COLUMNS = 4


def test_the_patient_whom_a_good_model_has_wrong_is_read_from_any_batch() -> None:
    generator = np.random.default_rng(0)
    features = generator.uniform(-1, 1, (80, COLUMNS))
    features[:, 0] = np.where(features[:, 0] > 0, 0.5, -0.5) + 0.2 * features[:, 0]
    target = (features[:, 0] > 0).astype(np.float64)
    odd = 7
    noisy = target.copy()
    noisy[odd] = 1 - noisy[odd]
    model = LogisticRegression(options=LogisticRegressionOptions(), columns=COLUMNS)
    cohort = Cohort(features=features, target=noisy, offsets=np.arange(81))

    def ask(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        batch = np.union1d(np.flatnonzero(generator.random(80) < 0.3), [odd])
        return clipped_gradient_sum(model, parameters, cohort, batch, clip=1.0)

    guesses = read_by_errors(
        ask, rounds=5, reference=features, outcomes=target, generator=generator
    )

    assert len(guesses) == 5
    np.testing.assert_allclose(guesses, np.tile(features[odd], (5, 1)), atol=1e-9)
