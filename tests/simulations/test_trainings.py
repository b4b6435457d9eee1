from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.client.vault.protection import PlannedProtection
from fedward.common.privacy.random_source import RandomSource
from fedward.common.secure_sum.roster import checked_roster
from fedward.common.study.definition import Study
from fedward.simulations.arms import Arm, arms_of
from fedward.simulations.conditions import Conditions
from fedward.simulations.credentials import Credentials
from fedward.simulations.drop_outs import DropOuts
from fedward.simulations.federation import SimulatedSite
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.trainings import (
    EVERYONE,
    SplitHospitals,
    Training,
    plan_of,
    run_options,
    simulated_sites,
    trainings_of,
)
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeHospitals = Callable[..., Hospitals]
NAMES = ["north", "south", "west"]
CALM = Conditions(insecure_noise_seed=None)


def arm_of(study: Study, kind: str) -> Arm:
    return next(arm for arm in arms_of(study, epsilons=(3.0,)) if arm.kind == kind)


def credentials_of(training: Training) -> Credentials:
    return Credentials.issue(training.cohorts, run_id="run", randomness=RandomSource.insecure(0))


def sites_of(arm: Arm, training: Training, conditions: Conditions = CALM) -> list[SimulatedSite]:
    return simulated_sites(arm, training, credentials_of(training), conditions=conditions, seed=7)


@pytest.fixture
def split(study: Study, make_hospitals: MakeHospitals) -> SplitHospitals:
    return SplitHospitals.of(make_hospitals(), study, seed=0)


def test_hospitals_are_split_by_patient_and_by_seed(
    study: Study, make_hospitals: MakeHospitals
) -> None:
    hospitals = make_hospitals()
    first, again, other = (SplitHospitals.of(hospitals, study, seed=seed) for seed in (0, 0, 1))

    for hospital in hospitals.sites:
        held_out = first.held_out[hospital.name].patient_count
        assert first.training[hospital.name].patient_count + held_out == (
            hospital.cohort.patient_count
        )
        assert held_out / hospital.cohort.patient_count == pytest.approx(0.2, abs=0.05)
    name = hospitals.sites[0].name
    assert np.array_equal(first.held_out[name].features, again.held_out[name].features)
    assert not np.array_equal(first.held_out[name].features, other.held_out[name].features)


def test_a_hospital_alone_declares_its_own_patients(study: Study, split: SplitHospitals) -> None:
    trainings = trainings_of(arm_of(study, "alone"), split)

    assert [training.part for training in trainings] == NAMES
    for training in trainings:
        ((name, cohort),) = training.cohorts.items()
        assert name == training.part
        assert cohort is split.training[name]
        assert training.study.cohort.expected_patients == cohort.patient_count
        assert training.plan is None


def test_delta_goes_with_a_hospital_larger_than_declared(
    make_study: MakeStudy, make_hospitals: MakeHospitals
) -> None:
    # Delta is below 1/(10 n) for the declared n and above it for the hospital's own.
    study = make_study(cohort={"expected_patients": 10}, privacy={"delta": 9e-3})
    split = SplitHospitals.of(make_hospitals(), study, seed=0)

    for training in trainings_of(arm_of(study, "alone"), split):
        patients = training.study.cohort.expected_patients
        assert training.study.privacy.delta < 1 / (10 * patients)


@pytest.mark.parametrize("kind", ["pooled", "pooled_private"])
def test_pooled_data_are_one_site_with_everyone(
    make_study: MakeStudy, make_hospitals: MakeHospitals, kind: str
) -> None:
    # Each hospital is within the study's bound, all together are not.
    study = make_study(cohort={"max_patients_per_site": 40})
    split = SplitHospitals.of(make_hospitals(), study, seed=0)
    arm = arm_of(study, kind)
    (training,) = trainings_of(arm, split)
    (site,) = sites_of(arm, training)

    everyone = sum(cohort.patient_count for cohort in split.training.values())
    assert everyone > 40
    assert (training.part, site.name, site.cohort.patient_count) == (EVERYONE, "pooled", everyone)
    assert site.held_out is None
    site.vault()


@pytest.mark.parametrize("kind", ["federated", "federated_local", "federated_distributed"])
def test_a_federation_is_all_hospitals_under_the_arms_study(
    study: Study, split: SplitHospitals, kind: str
) -> None:
    arm = arm_of(study, kind)
    (training,) = trainings_of(arm, split)
    conditions = Conditions(insecure_noise_seed=4, masked=False)
    sites = sites_of(arm, training, conditions)
    credentials = credentials_of(training)

    assert training.study == arm.study
    assert [site.name for site in sites] == NAMES
    assert {site.insecure_noise_seed for site in sites} == {4}
    assert {site.masked for site in sites} == {False}
    assert all(site.held_out is split.held_out[site.name] for site in sites)
    # A hospital knows whom it trains with, so nobody can thin its noise with invented sites.
    for site in sites:
        assert site.policy.known_keys == credentials.known_keys
        assert set(site.policy.known_keys) == set(NAMES)
        assert site.policy.federation_key == credentials.federation_key
        assert site.identity == credentials.identities[site.name]
    expected: Any = PlannedProtection if arm.protected else Unprotected
    assert {type(site.protection) for site in sites} == {expected}


def test_protected_arms_have_a_plan_and_the_others_none(
    study: Study, split: SplitHospitals
) -> None:
    for arm in arms_of(study, epsilons=(3.0,)):
        for training in trainings_of(arm, split):
            if not arm.protected:
                assert training.plan is None
                continue
            assert training.plan == plan_of(arm, sites=3)
            assert training.plan.epsilon <= 3
            assert training.plan.sites == (1 if arm.grouping == "pooled" else 3)


def test_hospitals_allow_what_their_study_asks_for(
    make_study: MakeStudy, split: SplitHospitals
) -> None:
    for per_site in (False, True):
        arm = arm_of(make_study(evaluation={"per_site": per_site}), "federated_distributed")
        (training,) = trainings_of(arm, split)
        assert {site.policy.allow_site_evaluation for site in sites_of(arm, training)} == {per_site}


def test_only_the_hospitals_of_a_federation_fail(study: Study, split: SplitHospitals) -> None:
    stormy = Conditions(insecure_noise_seed=None, drop_out=0.1)
    for arm in arms_of(study, epsilons=(3.0,)):
        for training in trainings_of(arm, split):
            expected = DropOuts(rate=0.1, seed=7) if arm.grouping == "federated" else None
            assert {site.drop_outs for site in sites_of(arm, training, stormy)} == {expected}
            assert {site.drop_outs for site in sites_of(arm, training)} == {None}


def test_the_coordinator_is_told_roster_budget_and_minimum(
    study: Study, split: SplitHospitals
) -> None:
    for arm in arms_of(study, epsilons=(3.0,)):
        for training in trainings_of(arm, split):
            credentials = credentials_of(training)
            options = run_options(arm, training, credentials, run_id="run", seed=3)
            roster = checked_roster(
                options.signed_roster, federation_key=credentials.federation_key
            )

            assert options.federation_key == credentials.federation_key
            assert roster.names == tuple(sorted(training.cohorts))
            assert (options.run_id, options.model_seed) == ("run", 3)
            assert (options.budget is not None) == arm.protected
            assert options.minimum_sites == (None if arm.grouping == "federated" else 1)
