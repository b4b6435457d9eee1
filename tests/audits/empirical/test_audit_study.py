"""An audit study costs what the audited one does, and its canaries lie each in its own column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.canaries import Canaries, CanaryShape, amounts, canary_columns
from fedward.audits.empirical.local_steps import LocalSteps
from fedward.audits.empirical.reference_gradients import (
    clipped_gradients,
    first_layer_width,
    patient_gradient,
)
from fedward.client.cohort import Cohort
from fedward.client.vault.cohort_checks import check_cohort
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions, study_model

Audited = Callable[[str], Study]
NAMES = ["full", "poisson", "poisson_mlp", "full_mlp", "local", "local_mlp"]


@pytest.mark.parametrize("name", NAMES)
def test_noise_and_cost_are_those_of_the_audited_study(audited: Audited, name: str) -> None:
    study = audited(name)
    audit = AuditStudy.of(study, canaries=50)
    plans = [
        plan_for(one, sites=4, coordinates=Dimensions.of(one).longest)
        for one in (study, audit.study)
    ]

    assert plans[0].sums == plans[1].sums
    assert plans[0].epsilon == plans[1].epsilon
    assert plans[0].epsilon_alone == plans[1].epsilon_alone
    assert audit.study.digest != study.digest


def test_names_of_canaries_are_no_names_of_the_study(make_study: Callable[..., Study]) -> None:
    study = make_study(
        features=[{"kind": "numeric", "name": "canary1", "unit": "u", "range": (0.0, 1.0)}],
        target={"name": "canary", "positive": ("yes",), "negative": ("no",)},
    )

    audit = AuditStudy.of(study, canaries=2)

    assert len({feature.name for feature in audit.study.features}) == 3
    assert audit.real_columns == 1


@pytest.mark.parametrize("clip", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_canary_fills_its_column_with_one_clip(audited: Audited, name: str, clip: float) -> None:
    document = audited(name).model_dump()
    document["privacy"] |= {"clip": clip}
    study = Study.model_validate(document)
    audit = AuditStudy.of(study, canaries=4)
    shape = CanaryShape.of(audit, audit.parameters())

    # Of local training, positive canaries alone, whose residual is 1 in every step.
    outcomes = [1] if audit.is_local else [0, 1]
    assert (shape.strengths[outcomes] > 0.99).all()
    assert (shape.strengths[outcomes] <= 1).all()
    np.testing.assert_allclose(np.linalg.norm(shape.directions[outcomes], axis=1), 1)


@pytest.mark.parametrize("name", ["full", "full_mlp"])
def test_amounts_are_one_for_canaries_that_are_there(audited: Audited, name: str) -> None:
    study = audited(name)
    audit = AuditStudy.of(study, canaries=12)
    generator = np.random.default_rng(5)
    tossed = Canaries.toss(12, sites=("a",), both_outcomes=True, generator=generator)
    real = Cohort(
        features=np.zeros((0, audit.real_columns)), target=np.zeros(0), offsets=np.zeros(1, int)
    )
    cohort = tossed.cohorts({"a": real, "b": real}, audit=audit)["a"]
    check_cohort("a", cohort, audit.study)
    parameters = audit.parameters()
    stretched = Cohort(
        features=cohort.features * audit.amplitude, target=cohort.target, offsets=cohort.offsets
    )
    clip = study.privacy.clip
    total = clipped_gradients(study_model(audit.study), parameters, stretched, clip=clip).sum(
        axis=0
    )

    found = amounts(
        canary_columns(total, audit=audit),
        CanaryShape.of(audit, parameters),
        tossed.positive,
        clip=clip,
    )

    np.testing.assert_allclose(found, tossed.included.astype(float), atol=1e-9)


@pytest.mark.parametrize("name", ["full", "full_mlp"])
def test_brute_force_gradients_are_those_of_finite_differences(
    audited: Audited, make_cohort: Callable[..., Cohort], name: str
) -> None:
    model = study_model(audited(name))
    generator = np.random.default_rng(2)
    parameters = generator.standard_normal(model.parameter_count)
    cohort = make_cohort(1, seed=4)

    def loss(at: np.ndarray) -> float:
        p = model.predict(at, cohort.features)
        y = cohort.target
        return float(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p)))

    step = 1e-6
    expected = [
        (loss(parameters + step * unit) - loss(parameters - step * unit)) / (2 * step)
        for unit in np.eye(model.parameter_count)
    ]
    found = patient_gradient(model, parameters, cohort.features, cohort.target)

    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert first_layer_width(model) == (4 if name == "full_mlp" else 1)
    clipped = clipped_gradients(model, parameters, cohort, clip=1e-3)[0]
    assert np.linalg.norm(clipped) == pytest.approx(min(1e-3, float(np.linalg.norm(found))))


def test_local_steps_are_the_recurrence_of_local_training(
    make_study: Callable[..., Study],
) -> None:
    study = make_study(
        local=True,
        training={
            "method": "local",
            "rounds": 2,
            "epochs": 2,
            "sampling_rate": 0.4,
            "learning_rate": 0.3,
            "momentum": 0.7,
            "l2": 0.05,
            "combine": "fedprox",
            "proximal": 0.1,
        },
    )
    training = study.training
    assert isinstance(training, LocalTraining)
    steps = LocalSteps.of(study, sites=3)
    generator = np.random.default_rng(0)
    sums, start = generator.standard_normal((2, training.steps_per_round))[0], 1.7
    weight, velocity = start, 0.0
    for one in sums:
        gradient = one / (60 / 3 * 0.4) + 0.05 * weight + 0.1 * (weight - start)
        velocity = 0.7 * velocity + gradient
        weight -= 0.3 * velocity

    read = steps.read(np.array([weight - start]), np.array([start]))

    assert read[0] == pytest.approx(float(steps.weights @ sums))
    assert len(steps.weights) == training.steps_per_round


def test_other_training_has_no_local_steps(audited: Audited) -> None:
    with pytest.raises(ValueError, match="only local training"):
        LocalSteps.of(audited("full"), sites=2)
