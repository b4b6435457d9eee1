from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.hospitals.embedded import embedded_cohort
from fedward.simulations.hospitals.generated import (
    FEWEST_OF_A_CLASS,
    FEWEST_PATIENTS,
    PATIENTS_PER_SITE,
    ClassConditionalGaussian,
    generated_hospitals,
)
from fedward.simulations.hospitals.holdout import concatenate


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(find_study("breast_cancer"))


def test_sizes_are_unequal_and_their_total_is_fixed(study: Study) -> None:
    hospitals = generated_hospitals(study, sites=100, seed=0)
    sizes = np.array([hospital.cohort.patient_count for hospital in hospitals.sites])
    assert sizes.sum() == 100 * PATIENTS_PER_SITE
    assert sizes.min() >= FEWEST_PATIENTS
    assert sizes.max() > 2 * sizes.mean()
    assert "12000 generated patients at 100 simulated hospitals" in hospitals.description


def test_every_hospital_has_both_classes_and_values_in_range(study: Study) -> None:
    hospitals = generated_hospitals(study, sites=300, seed=3).sites
    assert len({hospital.name for hospital in hospitals}) == 300
    for hospital in hospitals:
        positives = hospital.cohort.target.sum()
        count = hospital.cohort.patient_count
        assert FEWEST_OF_A_CLASS <= positives <= count - FEWEST_OF_A_CLASS
        assert np.abs(hospital.cohort.features).max() <= 1


def test_hospitals_differ_in_case_mix_and_level(study: Study) -> None:
    hospitals = generated_hospitals(study, sites=60, seed=0).sites
    shares = np.array([hospital.cohort.target.mean() for hospital in hospitals])
    counts = np.array([hospital.cohort.patient_count for hospital in hospitals])
    by_chance = np.sqrt(np.mean(shares.mean() * (1 - shares.mean()) / counts))
    assert shares.std() > 1.5 * by_chance


def test_the_seed_and_the_site_decide_the_patients(study: Study) -> None:
    one, same, other = (generated_hospitals(study, sites=9, seed=seed) for seed in (0, 0, 1))
    for left, right in zip(one.sites, same.sites, strict=True):
        assert left.name == right.name
        assert np.array_equal(left.cohort.features, right.cohort.features)
    assert not np.array_equal(one.sites[0].cohort.features, other.sites[0].cohort.features)
    first, second = one.sites[0].cohort, one.sites[1].cohort
    assert not np.array_equal(first.features[:20], second.features[:20])


def test_a_model_of_generated_patients_works_on_the_real_ones(study: Study) -> None:
    joined = concatenate([h.cohort for h in generated_hospitals(study, sites=20, seed=0).sites])
    real = embedded_cohort(study)
    model = LogisticRegression(max_iter=3000).fit(joined.features, joined.target)
    assert roc_auc_score(real.target, model.decision_function(real.features)) > 0.97


def test_no_generated_patient_is_a_real_one(study: Study) -> None:
    real = {row.tobytes() for row in embedded_cohort(study).features}
    for hospital in generated_hospitals(study, sites=9, seed=0).sites:
        assert not real & {row.tobytes() for row in hospital.cohort.features}


def test_draws_have_the_fitted_mean_and_covariance(study: Study) -> None:
    model = ClassConditionalGaussian.fit(embedded_cohort(study))
    labels = np.zeros(40_000, dtype=np.bool_)
    generator = np.random.Generator(np.random.PCG64(0))
    drawn = model.draw(labels, np.zeros(30), generator)
    logits = 2 * np.arctanh(drawn)
    spread = np.sqrt(np.diag(model.factors[0] @ model.factors[0].T))
    assert np.abs((logits.mean(axis=0) - model.means[0]) / spread).max() < 0.03
    assert logits.std(axis=0) / spread == pytest.approx(np.ones(30), abs=0.03)
    expected = (model.factors[0] @ model.factors[0].T) / np.outer(spread, spread)
    assert np.abs(np.corrcoef(logits.T) - expected).max() < 0.03


def test_the_real_correlations_survive(study: Study) -> None:
    joined = concatenate([h.cohort for h in generated_hospitals(study, sites=50, seed=0).sites])
    real = np.corrcoef(embedded_cohort(study).features.T)
    assert np.abs(np.corrcoef(joined.features.T) - real).mean() < 0.1


def test_one_site_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match="needs at least 2"):
        generated_hospitals(study, sites=1, seed=0)
