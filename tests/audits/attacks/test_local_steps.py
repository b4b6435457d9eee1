from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.audits.attacks.local_steps import LinearSteps
from fedward.audits.attacks.views import Sites, SumsInView
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import clipped_gradient_sum
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import study_model

LOCAL: dict[str, Any] = {
    "method": "local",
    "rounds": 40,
    "epochs": 2,
    "sampling_rate": 0.5,
    "learning_rate": 1e-4,
    "momentum": 0.4,
    "l2": 0.1,
    "combine": "fedprox",
    "proximal": 0.2,
}


def test_a_distributed_round_is_its_gradient_sum(make_study: Callable[..., Study]) -> None:
    steps = LinearSteps.of(make_study(), sites=3)
    assert (steps.mean, steps.variance, steps.drift, steps.sign) == (1.0, 0.0, 0.0, 1.0)
    assert (steps.draw((2, 2), np.random.default_rng(0)) == 1).all()


def test_a_poisson_round_has_the_rates_moments(make_study: Callable[..., Study]) -> None:
    training = {
        "method": "distributed",
        "rounds": 3,
        "learning_rate": 1.0,
        "batch": "poisson",
        "sampling_rate": 0.3,
    }
    steps = LinearSteps.of(make_study(training=training), sites=3)
    drawn = steps.draw((20_000,), np.random.default_rng(0))
    assert (steps.mean, steps.variance) == pytest.approx((0.3, 0.21))
    assert drawn.mean() == pytest.approx(0.3, abs=0.015)
    assert set(np.unique(drawn)) == {0.0, 1.0}


def test_a_local_update_is_what_its_steps_make_of_the_gradient(
    make_study: Callable[..., Study], make_cohort: Callable[..., Cohort]
) -> None:
    """On real vaults, by the mean and the spread over forty rounds of small steps."""
    study = make_study(local=True, training=LOCAL)
    cohorts = {f"site-{number}": make_cohort(40, seed=number) for number in range(3)}
    sites = Sites(cohorts=cohorts, victim="site-0", noise_seed=5)
    steps = LinearSteps.of(study, sites=3)
    parameters = np.array([1.0, -2.0, 0.5, 0.3])
    sums = SumsInView(study, sites, "raw", run_id="run")
    seen = np.array([steps.sign * sums.ask(parameters) for _ in range(40)]) / steps.mean
    gradient = clipped_gradient_sum(
        study_model(study), parameters, cohorts["site-0"], None, clip=1e6
    )

    error = seen.std(axis=0, ddof=1) / np.sqrt(40)
    assert (np.abs(seen.mean(axis=0) - gradient) < 4 * error).all()
    assert np.linalg.norm(error) < 0.2 * np.linalg.norm(gradient)


def test_drawn_weights_have_the_moments_that_are_told(make_study: Callable[..., Study]) -> None:
    steps = LinearSteps.of(make_study(local=True, training=LOCAL), sites=3)
    drawn = steps.draw((50_000,), np.random.default_rng(0))
    assert len(steps.gains) == 4
    assert drawn.mean() == pytest.approx(steps.mean, rel=0.02)
    assert drawn.var() == pytest.approx(steps.variance, rel=0.04)
