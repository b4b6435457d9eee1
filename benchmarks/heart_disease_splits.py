"""The heart-disease patients and their splits: FLamby's sizes at every seed, and its own split."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.hospitals.folder import folder_hospitals
from fedward.simulations.hospitals.holdout import split_holdout

TEST_SIZES = {"cleveland": 104, "hungary": 89, "switzerland": 16, "long_beach": 45}
PATIENTS = 740
FLAMBY_TRAIN_SHARE = 0.66
FLAMBY_RANDOM_STATE = 43

Split = tuple[Mapping[str, Cohort], Mapping[str, Cohort]]


@lru_cache(maxsize=1)
def heart_disease_study() -> Study:
    """The shipped study."""
    return load_study(find_study("heart_disease"))


@lru_cache(maxsize=1)
def heart_disease_cohorts(folder: Path) -> dict[str, Cohort]:
    """All patients without a missing value by site, from the UCI files as they are."""
    hospitals = folder_hospitals(
        heart_disease_study(), folder, study_path=find_study("heart_disease")
    )
    return {hospital.name: hospital.cohort for hospital in hospitals.sites}


def checked_split(cohorts: Mapping[str, Cohort], study: Study, *, seed: int | None) -> Split:
    """Split every hospital; ValueError unless the test sets have FLamby's sizes."""
    holdout = study.evaluation.holdout
    parts = {
        name: flamby_split(cohort)
        if seed is None
        else split_holdout(cohort, holdout=holdout, seed=seed, site=name)
        for name, cohort in cohorts.items()
    }
    sizes = {name: part[1].patient_count for name, part in parts.items()}
    patients = sum(cohort.patient_count for cohort in cohorts.values())
    if sizes != TEST_SIZES or patients != PATIENTS:
        raise ValueError(f"not FLamby's split: test patients {sizes} of {patients} in all")
    return {n: part[0] for n, part in parts.items()}, {n: part[1] for n, part in parts.items()}


def flamby_split(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """Training and test patients of one site exactly as in FLamby's Fed-Heart-Disease.

    One row a patient, in the order of the file (owkin/FLamby, fed_heart_disease/dataset.py).
    """
    fewest = min(np.count_nonzero(cohort.target == label) for label in (0, 1))
    training, test = train_test_split(
        np.arange(cohort.patient_count),
        test_size=1 - FLAMBY_TRAIN_SHARE,
        train_size=FLAMBY_TRAIN_SHARE,
        random_state=FLAMBY_RANDOM_STATE,
        shuffle=True,
        stratify=cohort.target if fewest > 2 else None,
    )
    return cohort.take(np.sort(training)), cohort.take(np.sort(test))
