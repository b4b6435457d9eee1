"""Attacks on real patients: what they must reach without noise, and must not with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fedward.audits.attacks.gradient_inversion import invert_gradients
from fedward.audits.attacks.membership_inference import infer_membership
from fedward.audits.attacks.result import AttackResult, View
from fedward.audits.attacks.trap_weights import trap_weights
from fedward.audits.attacks.views import Sites
from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import changed
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.trainings import SplitHospitals


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def values(result: AttackResult) -> dict[View, float]:
    found = {figure.view: figure.value for figure in result.figures}
    assert all(value is not None for value in found.values())
    return {view: value for view, value in found.items() if value is not None}


def test_traps_read_a_record_a_round_until_there_is_noise(
    breast_cancer: Study, sites: Sites, reference: Cohort
) -> None:
    result = trap_weights(breast_cancer, sites, reference=reference, generator=generator())
    found = values(result)
    patients = {name: cohort.patient_count for name, cohort in sites.cohorts.items()}

    # Of forty rounds, about thirty-five give a record each.
    assert found["raw"] * patients["hospital-1"] > 30
    assert found["clipped"] * patients["hospital-1"] > 30
    assert found["masked"] * sum(patients.values()) > 30
    assert found["noised"] == 0
    assert result.worked_against_release is False
    assert all(figure.chance == 0 for figure in result.figures)
    shown = result.reconstructions[0]
    for view in ("raw", "clipped", "masked"):
        assert shown.found[view] == pytest.approx(shown.true, rel=1e-3)
    assert shown.found["noised"] != pytest.approx(shown.true, rel=0.1)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_neurons_read_half_of_all_records_off_fresh_batches(
    perceptron: Callable[..., Study], sites: Sites, reference: Cohort, activation: str
) -> None:
    study = perceptron(activation, (16,))
    result = trap_weights(study, sites, reference=reference, generator=generator())
    found = values(result)

    assert found["raw"] > 0.6
    assert found["clipped"] > 0.6
    assert found["masked"] > 0.35
    assert found["noised"] == 0
    assert result.worked_against_release is False


def test_a_study_that_promises_next_to_nothing_is_told_so(
    perceptron: Callable[..., Study], sites: Sites, reference: Cohort, hospitals: Hospitals
) -> None:
    """The verdict on the release can be both: at epsilon 12 in few steps it is seen to leak."""
    study = changed(
        perceptron(rounds=4, batch="full", sampling_rate=1.0), {"privacy": {"epsilon": 12.0}}
    )
    cohorts = {hospital.name: hospital.cohort for hospital in hospitals.sites}
    area, _ = infer_membership(study, cohorts, noise_seed=3, generator=generator())

    assert values(area)["noised"] > 0.6
    assert area.worked_against_release is True
    assert values(area)["raw"] > 0.99


def test_everybody_is_found_in_bare_sums_and_hardly_anybody_in_noised_ones(
    breast_cancer: Study, hospitals: Hospitals
) -> None:
    cohorts = {hospital.name: hospital.cohort for hospital in hospitals.sites}
    area, certain = infer_membership(breast_cancer, cohorts, noise_seed=3, generator=generator())

    for view in ("raw", "clipped", "masked"):
        assert values(area)[view] > 0.99
        assert values(certain)[view] > 0.9
    assert abs(values(area)["noised"] - 0.5) < 0.08
    members = 569 / 2
    allowed = math.e * 0.01
    assert values(certain)["noised"] < allowed + 3 * math.sqrt(allowed / members)
    assert area.worked_against_release is False
    assert certain.worked_against_release is False


def test_local_updates_leak_too_until_they_are_noised(hospitals: Hospitals) -> None:
    study = load_study(find_study("breast_cancer_local"))
    cohorts = {hospital.name: hospital.cohort for hospital in hospitals.sites}
    area, _ = infer_membership(study, cohorts, noise_seed=3, generator=generator())

    assert values(area)["raw"] > 0.6
    assert values(area)["clipped"] > 0.6
    assert values(area)["masked"] > 0.53
    assert abs(values(area)["noised"] - 0.5) < 0.08
    assert area.worked_against_release is False


def test_one_patients_gradient_is_the_patient_until_there_is_noise(
    breast_cancer: Study, split: SplitHospitals, reference: Cohort
) -> None:
    result = invert_gradients(
        breast_cancer,
        concatenate(list(split.training.values())),
        reference=reference.features,
        sites=4,
        noise_seed=3,
        generator=generator(),
    )
    found = values(result)

    assert found["raw"] > 0.95
    assert found["clipped"] > 0.95
    # One sum over four patients has too few numbers for all of them.
    assert found["masked"] < 0.6
    assert found["noised"] < 0.05
    assert result.worked_against_release is False


def test_pictures_come_out_of_bare_sums_and_not_of_noised_ones(
    picture_study: Study, picture_hospitals: Hospitals
) -> None:
    split = SplitHospitals.of(picture_hospitals, picture_study, seed=0)
    held_out = concatenate(list(split.held_out.values()))
    sites = Sites(cohorts=split.training, victim="hospital-1", noise_seed=3)

    trap = trap_weights(picture_study, sites, reference=held_out, generator=generator())
    inversion = invert_gradients(
        picture_study,
        concatenate(list(split.training.values())),
        reference=held_out.features,
        sites=4,
        noise_seed=3,
        generator=generator(),
    )

    assert values(trap)["raw"] > 0.2
    assert values(trap)["clipped"] > 0.2
    assert values(trap)["masked"] > 0.05
    assert values(trap)["noised"] == 0
    assert values(inversion)["raw"] > 0.9
    assert values(inversion)["noised"] < 0.05
    for shown in (trap.reconstructions[0], inversion.reconstructions[0]):
        assert shown.picture == (28, 28)
        true = np.array(shown.true)
        for view, similar in (("raw", True), ("clipped", True), ("noised", False)):
            picture = np.array(shown.found[view])
            alike = float(np.corrcoef(true, picture)[0, 1])
            assert (alike > 0.95) if similar else (alike < 0.3)
