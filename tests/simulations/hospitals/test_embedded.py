from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from fedward.common.errors import InputError
from fedward.common.study.definition import NumericFeature, Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.hospitals.embedded import breast_cancer_table, embedded_cohort


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(find_study("breast_cancer"))


def changed(study: Study, **tables: Any) -> Study:
    return Study.model_validate(study.model_dump() | tables)


def test_the_table_is_exact_text() -> None:
    table = breast_cancer_table()
    numbers = table.drop(columns="diagnosis").to_numpy(dtype=np.float64)
    assert np.array_equal(numbers, load_breast_cancer().data)
    assert table["diagnosis"].value_counts().to_dict() == {"benign": 357, "malignant": 212}


def test_the_cohort_is_in_the_public_ranges_without_clamping(study: Study) -> None:
    cohort = embedded_cohort(study)
    data = load_breast_cancer().data
    for column, feature in enumerate(study.features):
        assert isinstance(feature, NumericFeature)
        low, high = feature.range
        assert low <= data[:, column].min()
        assert data[:, column].max() <= high
        expected = 2 * (data[:, column] - low) / (high - low) - 1
        assert cohort.features[:, column] == pytest.approx(expected, abs=1e-12)
    assert int(cohort.target.sum()) == 212
    assert cohort.patient_count == 569


def test_some_of_the_columns_are_enough(study: Study) -> None:
    few = changed(study, features=study.model_dump()["features"][3:5])
    assert embedded_cohort(few).features.shape == (569, 2)


def test_a_feature_that_the_data_lack(study: Study) -> None:
    features = [dict(feature) for feature in study.model_dump()["features"]]
    features[2]["name"] = "mean_perimetre"
    with pytest.raises(InputError) as caught:
        embedded_cohort(changed(study, features=features))
    assert str(caught.value) == (
        "study 'breast_cancer': features[2].name ('mean_perimetre') is not a measurement of "
        "scikit-learn's embedded breast-cancer data; did you mean 'mean_perimeter', or give the "
        "hospitals' own files with --data."
    )


def test_a_target_that_the_data_lack(study: Study) -> None:
    target = study.model_dump()["target"] | {"name": "survival"}
    with pytest.raises(InputError, match=r"target\.name is 'survival', which .* lack; make it"):
        embedded_cohort(changed(study, target=target))
