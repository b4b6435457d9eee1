from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.client.cohort import Cohort
from fedward.common.errors import InputError
from fedward.common.privacy.sum_plan import PART_OF
from fedward.common.study.class_counts import class_count_sum
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions, study_model
from fedward.common.study.scaling import moments_of_patients
from fedward.common.study.score_sums import score_sum, score_sums_length

MakeStudy = Callable[..., Study]


def test_lengths_of_a_study_with_a_private_scaler(study: Study) -> None:
    dimensions = Dimensions.of(study)

    assert dimensions.columns == 3
    assert dimensions.parameters == 4
    assert dimensions.moments == 2 * 3
    assert dimensions.evaluation == score_sums_length(20) == dimensions.longest == 45


def test_moments_are_as_long_as_a_patients_moments(
    study: Study, make_cohort: Callable[..., Cohort]
) -> None:
    cohort = make_cohort()

    moments = moments_of_patients(cohort.features, cohort.offsets, clip=1.0)

    assert moments.shape == (cohort.patient_count, Dimensions.of(study).moments)


def test_each_kind_of_sum_has_its_length(make_study: MakeStudy) -> None:
    dimensions = Dimensions.of(make_study(statistics={}, evaluation={"score_bins": 7}))

    assert {kind: dimensions.of_kind(kind) for kind in PART_OF} == {
        "moments": 6,
        "training": 4,
        "evaluation": 19,
        "site_evaluation": 19,
        "counts": 2,
    }


def test_sums_are_as_long_as_they_are_made(make_study: MakeStudy) -> None:
    dimensions = Dimensions.of(make_study(statistics={}, evaluation={"score_bins": 7}))
    nobody = np.zeros(0)

    assert score_sum(nobody, nobody, threshold=0.5, bins=7).shape == (dimensions.evaluation,)
    assert class_count_sum(nobody).shape == (dimensions.counts,)


def test_what_is_never_released_has_no_length(make_study: MakeStudy) -> None:
    silent = Dimensions.of(make_study(evaluation={"release": False}))
    assert (silent.counts, silent.evaluation) == (0, 0)
    own = Dimensions.of(make_study(evaluation={"release": False, "per_site": True}))
    assert own.of_kind("site_evaluation") == score_sums_length(20)


def test_without_a_private_scaler_there_are_no_moments(make_study: MakeStudy) -> None:
    assert Dimensions.of(make_study(scaling={"method": "public_range"})).moments == 0


def test_categories_count_as_columns(make_study: MakeStudy) -> None:
    features = [
        {"kind": "numeric", "name": "age", "unit": "years", "range": (0.0, 100.0)},
        {"kind": "categorical", "name": "sex", "categories": ("f", "m")},
        {"kind": "categorical", "name": "stage", "categories": ("1", "2", "3")},
    ]

    assert Dimensions.of(make_study(features=features)).columns == 1 + 1 + 3


def test_the_model_has_the_studys_columns(make_study: MakeStudy) -> None:
    mlp = make_study(model={"name": "mlp", "options": {"hidden": [5]}})
    model = study_model(mlp)

    assert model.columns == 3
    assert model.parameter_count == Dimensions.of(mlp).parameters == (3 + 1) * 5 + (5 + 1)
    assert model.initial(0).shape == (model.parameter_count,)
    assert np.isfinite(model.initial(0)).all()


def test_an_unknown_model_is_an_input_error(make_study: MakeStudy) -> None:
    with pytest.raises(InputError, match=r"model\.name"):
        Dimensions.of(make_study(model={"name": "forest"}))
