from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import KernelOptions
from fedward.client.vault.local_training import local_update, sampled_patients
from fedward.client.vault.protection import UPDATE_BOUND, PlannedProtection, SumRules, update_codec
from fedward.common.privacy.random_source import RandomSource, RandomStream
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import study_model
from fedward.simulations.unprotected import NoShare

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]

CLIP = 0.4
START = np.array([0.3, -0.2, 0.1, 0.05])
OPTIONS = KernelOptions(kernel="closed_form")


def fresh_stream(purpose: str, step: int) -> RandomStream:
    return RandomSource.from_os().stream(purpose=purpose, context=bytes([step]))


def training_of(**changes: Any) -> LocalTraining:
    fields = {"rounds": 1, "epochs": 3, "sampling_rate": 1.0, "learning_rate": 0.5} | changes
    return LocalTraining(method="local", **fields)


def exact_rules(*, rate: float = 1.0, clip: float = CLIP) -> SumRules:
    codec = RingCodec(
        clip=clip, length=4, max_patients=1000, sites=3, noise_multiplier=0.0, resolution_bits=40
    )
    return SumRules(clip=clip, sampling_rate=rate, codec=codec, share=NoShare(), executed=None)


def updated(study: Study, cohort: Cohort, training: LocalTraining, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "model": study_model(study),
        "parameters": START,
        "cohort": cohort,
        "training": training,
        "rules": exact_rules(rate=training.sampling_rate),
        "expected_patients": 20.0,
        "stream_of": fresh_stream,
        "performance": OPTIONS,
    }
    return local_update(**(arguments | changes))


def clipped_sum(weights: NDArray[np.float64], cohort: Cohort) -> NDArray[np.float64]:
    """The sum of clipped mean gradients of logistic regression, patient by patient."""
    rows = np.hstack([cohort.features, np.ones((len(cohort.features), 1))])
    residuals = 1 / (1 + np.exp(-rows @ weights)) - cohort.target
    by_row = residuals[:, None] * rows
    total = np.zeros_like(weights)
    for start, end in zip(cohort.offsets[:-1], cohort.offsets[1:], strict=True):
        gradient = by_row[start:end].mean(axis=0)
        total += gradient * min(1.0, CLIP / float(np.linalg.norm(gradient)))
    return total


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"momentum": 0.7},
        {"l2": 0.3},
        {"combine": "fedprox", "proximal": 0.6},
        {"momentum": 0.5, "l2": 0.1, "combine": "fedprox", "proximal": 0.2},
    ],
)
def test_without_noise_it_is_gradient_descent_with_momentum(
    local_study: Study, make_cohort: MakeCohort, changes: dict[str, Any]
) -> None:
    cohort, training = make_cohort(), training_of(**changes)

    weights, velocity = START.copy(), np.zeros(4)
    for _ in range(3):
        gradient = clipped_sum(weights, cohort) / 20 + training.l2 * weights
        gradient += training.proximal * (weights - START)
        velocity = training.momentum * velocity + gradient
        weights = weights - 0.5 * velocity

    np.testing.assert_allclose(updated(local_study, cohort, training), weights - START, atol=1e-9)


@pytest.mark.parametrize(("epochs", "rate", "steps"), [(1, 1.0, 1), (2, 0.25, 8), (1, 0.3, 4)])
def test_every_step_has_its_own_batch_and_its_own_noise(
    local_study: Study, make_cohort: MakeCohort, epochs: int, rate: float, steps: int
) -> None:
    asked: Counter[tuple[str, int]] = Counter()

    def stream_of(purpose: str, step: int) -> RandomStream:
        asked[purpose, step] += 1
        return fresh_stream(purpose, step)

    updated(
        local_study,
        make_cohort(),
        training_of(epochs=epochs, sampling_rate=rate),
        stream_of=stream_of,
    )

    assert asked == {(purpose, n): 1 for purpose in ("sampling", "noise") for n in range(steps)}


def test_the_divisor_is_public(local_study: Study, make_cohort: MakeCohort) -> None:
    training = training_of(epochs=1)
    one = updated(local_study, make_cohort(), training, expected_patients=20.0)
    half = updated(local_study, make_cohort(), training, expected_patients=40.0)
    sampled = updated(
        local_study,
        make_cohort(),
        training_of(epochs=1),
        rules=replace(exact_rules(), sampling_rate=0.5),
        expected_patients=20.0,
        stream_of=lambda _purpose, _step: AlwaysIn(),
    )

    np.testing.assert_allclose(half, one / 2, atol=1e-12)
    np.testing.assert_allclose(sampled, one * 2, atol=1e-12)


class AlwaysIn:
    """A stream whose every coin comes up."""

    def below_rate(self, size: int, *, rate: float) -> NDArray[np.bool_]:
        return np.ones(size, dtype=np.bool_)


def test_the_noise_of_a_step_is_what_the_plan_promises(make_study: MakeStudy) -> None:
    columns, repeats = 30, 400
    study = make_study(
        local=True, columns=columns, scaling={"method": "public_range"}, training={
            "method": "local", "rounds": 4, "epochs": 1, "sampling_rate": 1.0,
            "learning_rate": 1.0,
        },
    )  # fmt: skip
    rules = PlannedProtection().rules(study, "training", sites=3, colluding=0)
    features = np.random.default_rng(0).uniform(-1, 1, (25, columns))
    # Seen twice with opposite outcomes, patients have zero gradients at zero weights.
    cohort = Cohort.from_rows(
        features=np.repeat(features, 2, axis=0),
        target=np.tile([0.0, 1.0], 25),
        patients=np.repeat(np.arange(25), 2),
    )
    assert isinstance(study.training, LocalTraining)
    changes = [
        local_update(
            model=study_model(study),
            parameters=np.zeros(columns + 1),
            cohort=cohort,
            training=study.training,
            rules=rules,
            expected_patients=10.0,
            stream_of=fresh_stream,
            performance=OPTIONS,
        )
        for _ in range(repeats)
    ]
    assert rules.executed is not None
    noise = -10.0 * np.array(changes) / (rules.executed.share_multiplier * rules.clip)
    statistic, freedom = float(np.sum(noise**2)), noise.size

    def two_sided(value: float) -> float:
        return float(2 * min(stats.chi2.cdf(value, freedom), stats.chi2.sf(value, freedom)))

    assert two_sided(statistic) > 1e-7
    assert two_sided(statistic * 0.81) < 1e-12
    assert abs(noise.mean()) < 6 / math.sqrt(noise.size)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("learning_rate", [1e6, 1e100, 1e308])
def test_a_change_beyond_the_bound_is_scaled_down_to_it(
    local_study: Study, make_cohort: MakeCohort, learning_rate: float
) -> None:
    change = updated(
        local_study, make_cohort(), training_of(learning_rate=learning_rate, momentum=0.9, l2=1.0)
    )

    assert np.isfinite(change).all()
    assert np.linalg.norm(change) <= UPDATE_BOUND
    update_codec(local_study, sites=3, length=4).encode(change)


def test_a_change_within_the_bound_is_left_alone(
    local_study: Study, make_cohort: MakeCohort
) -> None:
    change = updated(local_study, make_cohort(), training_of())

    assert 0 < np.linalg.norm(change) < 10


def test_the_parameters_given_are_not_changed(local_study: Study, make_cohort: MakeCohort) -> None:
    parameters = START.copy()
    updated(local_study, make_cohort(), training_of(), parameters=parameters)

    assert parameters.tolist() == START.tolist()


def test_sampling_is_by_patient_and_independent(make_cohort: MakeCohort) -> None:
    cohort = make_cohort(3000)
    batches = [
        sampled_patients(cohort, rate=0.3, stream=fresh_stream("sampling", step))
        for step in range(4)
    ]
    assert all(batch is not None for batch in batches)
    masks = np.array([np.isin(np.arange(3000), batch) for batch in batches])

    assert masks.mean() == pytest.approx(0.3, abs=6 * math.sqrt(0.21 / masks.size))
    correlations = np.corrcoef(masks) - np.eye(4)
    assert np.abs(correlations).max() < 6 / math.sqrt(3000)


def test_a_rate_of_one_means_everyone(make_cohort: MakeCohort) -> None:
    assert sampled_patients(make_cohort(), rate=1.0, stream=fresh_stream("sampling", 0)) is None
