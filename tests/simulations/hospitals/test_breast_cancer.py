from __future__ import annotations

import numpy as np
import pytest

from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.hospitals.breast_cancer import (
    FEWEST_OF_A_CLASS,
    MOST_DEALT_SITES,
    breast_cancer_hospitals,
)
from fedward.simulations.hospitals.embedded import embedded_cohort
from fedward.simulations.hospitals.holdout import concatenate


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(find_study("breast_cancer"))


@pytest.mark.parametrize("sites", range(2, MOST_DEALT_SITES + 1))
@pytest.mark.parametrize("seed", [0, 1])
def test_every_patient_is_at_exactly_one_hospital(study: Study, sites: int, seed: int) -> None:
    hospitals = breast_cancer_hospitals(study, sites=sites, seed=seed).sites
    assert len({hospital.name for hospital in hospitals}) == sites
    joined = concatenate([hospital.cohort for hospital in hospitals])
    whole = embedded_cohort(study)
    assert joined.patient_count == 569

    def rows(features: np.ndarray, target: np.ndarray) -> list[bytes]:
        return sorted(row.tobytes() for row in np.column_stack([features, target]))

    assert rows(joined.features, joined.target) == rows(whole.features, whole.target)
    for hospital in hospitals:
        positives = int(hospital.cohort.target.sum())
        assert positives >= FEWEST_OF_A_CLASS
        assert hospital.cohort.patient_count - positives >= FEWEST_OF_A_CLASS


def test_sizes_and_case_mix_differ_and_referral_centres_see_larger_tumours(study: Study) -> None:
    sites = breast_cancer_hospitals(study, seed=0).sites
    sizes = [hospital.cohort.patient_count for hospital in sites]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 3.5 * sizes[-1]
    shares = [float(hospital.cohort.target.mean()) for hospital in sites]
    assert max(shares) - min(shares) > 0.25
    # Of malignant tumours alone, so that the case mix does not explain it.
    radius = [float(h.cohort.features[h.cohort.target == 1, 0].mean()) for h in sites]
    assert radius[int(np.argmax(shares))] > radius[int(np.argmin(shares))]


def test_the_seed_moves_patients_and_not_sizes(study: Study) -> None:
    one, same, other = (breast_cancer_hospitals(study, seed=seed) for seed in (0, 0, 1))
    for left, right in zip(one.sites, same.sites, strict=True):
        assert np.array_equal(left.cohort.features, right.cohort.features)
    assert one.description == other.description
    assert not np.array_equal(one.sites[0].cohort.features, other.sites[0].cohort.features)


def test_the_description_says_what_is_real(study: Study) -> None:
    text = breast_cancer_hospitals(study, seed=0).description
    assert "569 real patients" in text
    assert "4 simulated hospitals" in text
    assert "malignant" in text
    assert "generated patients" in breast_cancer_hospitals(study, sites=9, seed=0).description


@pytest.mark.parametrize("sites", [-1, 0, 1])
def test_too_few_sites(study: Study, sites: int) -> None:
    with pytest.raises(InputError, match=r"--sites gives .* needs at least 2"):
        breast_cancer_hospitals(study, sites=sites, seed=0)
