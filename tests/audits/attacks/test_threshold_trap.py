from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.attacks.threshold_trap import Ask, read_by_thresholds
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import clipped_gradient_sum
from fedward.common.models.logistic_regression import (
    LogisticRegression,
    LogisticRegressionOptions,
)

COLUMNS = 6


@pytest.fixture
def cohort() -> Cohort:
    generator = np.random.default_rng(0)
    return Cohort(
        features=generator.uniform(-1, 1, (30, COLUMNS)),
        target=generator.integers(0, 2, 30).astype(np.float64),
        offsets=np.arange(31),
    )


def asks(cohort: Cohort, *, clip: float, noise: float = 0.0) -> Ask:
    model = LogisticRegression(options=LogisticRegressionOptions(), columns=COLUMNS)
    drawn = np.random.default_rng(1)

    def ask(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        total = clipped_gradient_sum(model, parameters, cohort, None, clip=min(clip, 1e6))
        return total + noise * drawn.standard_normal(COLUMNS + 1)

    return ask


def read(ask: Ask, cohort: Cohort, *, rounds: int, clip: float) -> NDArray[np.bool_]:
    guesses = read_by_thresholds(
        ask,
        rounds=rounds,
        clip=clip,
        reference=np.random.default_rng(2).uniform(-1, 1, (50, COLUMNS)),
        patients=cohort.patient_count,
        generator=np.random.default_rng(3),
    )
    distances = np.abs(cohort.features[:, None] - guesses[None]).max(axis=2)
    return np.asarray(distances.min(axis=1) < 1e-6)


@pytest.mark.parametrize("clip", [np.inf, 1.0])
def test_every_record_is_read_in_a_few_rounds_more_than_there_are(
    cohort: Cohort, clip: float
) -> None:
    assert read(asks(cohort, clip=clip), cohort, rounds=36, clip=clip).all()


@pytest.mark.parametrize("clip", [np.inf, 1.0])
def test_few_rounds_read_almost_as_many_records(cohort: Cohort, clip: float) -> None:
    assert 8 <= read(asks(cohort, clip=clip), cohort, rounds=14, clip=clip).sum() <= 13


def test_three_rounds_are_enough_to_ask(cohort: Cohort) -> None:
    assert read(asks(cohort, clip=1.0), cohort, rounds=3, clip=1.0).sum() <= 2


def test_equal_records_are_read_together(cohort: Cohort) -> None:
    twins = cohort.take(np.array([0, 0, 1, 1, 2]))
    assert read(asks(twins, clip=1.0), twins, rounds=12, clip=1.0).all()


def test_rows_of_one_patient_are_read(make_cohort: Callable[..., Cohort]) -> None:
    several = make_cohort(8, columns=COLUMNS, seed=4)
    found = read(asks(several, clip=np.inf), several, rounds=40, clip=np.inf)
    assert found.mean() > 0.7


def test_nothing_is_read_through_noise(cohort: Cohort) -> None:
    assert not read(asks(cohort, clip=1.0, noise=5.0), cohort, rounds=36, clip=1.0).any()
