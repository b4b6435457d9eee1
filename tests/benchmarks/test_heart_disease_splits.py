from __future__ import annotations

import numpy as np
import pytest
from heart_disease_splits import TEST_SIZES, checked_split, flamby_split

from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study

PATIENTS = {"cleveland": 303, "hungary": 261, "switzerland": 46, "long_beach": 130}
POSITIVES = {"cleveland": 139, "hungary": 98, "switzerland": 45, "long_beach": 101}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(find_study("heart_disease"))


def _cohort(patients: int, positives: int) -> Cohort:
    return Cohort(
        features=np.arange(patients, dtype=np.float64)[:, None],
        target=(np.arange(patients) < positives).astype(np.float64),
        offsets=np.arange(patients + 1),
    )


@pytest.fixture
def cohorts() -> dict[str, Cohort]:
    return {name: _cohort(PATIENTS[name], POSITIVES[name]) for name in PATIENTS}


@pytest.mark.parametrize("seed", [0, 1, 17, None])
def test_splits_have_the_sizes_of_flamby(
    study: Study, cohorts: dict[str, Cohort], seed: int | None
) -> None:
    training, held_out = checked_split(cohorts, study, seed=seed)
    assert {name: cohort.patient_count for name, cohort in held_out.items()} == TEST_SIZES
    for name, patients in PATIENTS.items():
        both = np.concatenate([training[name].features, held_out[name].features])
        np.testing.assert_array_equal(np.sort(both[:, 0]), np.arange(patients))


def test_other_sizes_are_refused(study: Study, cohorts: dict[str, Cohort]) -> None:
    cohorts["switzerland"] = _cohort(40, 38)
    with pytest.raises(ValueError, match="not FLamby's split"):
        checked_split(cohorts, study, seed=0)


def test_flamby_split_is_stratified_where_there_are_enough_of_both() -> None:
    training, test = flamby_split(_cohort(303, 139))
    assert (training.patient_count, test.patient_count) == (199, 104)
    assert abs(test.target.mean() - 139 / 303) < 0.01
    # Stratifying would raise here: one patient without disease cannot be on both sides.
    assert flamby_split(_cohort(46, 45))[1].patient_count == 16
