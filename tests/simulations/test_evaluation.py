from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.server.training.state import TrainingState
from fedward.simulations.evaluation import (
    Predictions,
    joined,
    metrics_by_site,
    predict_patients,
    round_point,
)

MakeCohort = Callable[..., Cohort]


def state_of(parameters: list[float], **changes: object) -> TrainingState:
    fields: dict[str, object] = {
        "run_id": "run",
        "study_digest": "0" * 64,
        "round": 4,
        "logged": 0,
        "tail_count": 0,
        "parameters": np.array(parameters),
        "first": np.zeros(4),
        "second": np.zeros(4),
        "tail": np.zeros(4),
        "center": np.zeros(3),
        "scale": np.ones(3),
    }
    return TrainingState(**(fields | changes))  # type: ignore[arg-type]


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_a_patient_is_predicted_by_the_mean_of_its_rows(study: Study) -> None:
    cohort = Cohort.from_rows(
        features=np.array([[0.5, 0, 0], [-0.5, 0, 0], [0.25, 0, 0], [1.0, 0, 0]]),
        target=np.array([1.0, 0.0, 0.0, 1.0]),
        patients=np.array([0, 0, 1, 2]),
    )
    predictions = predict_patients(state_of([2.0, 0, 0, 0.1]), study, cohort)

    rows = sigmoid(2.0 * cohort.features[:, 0] + 0.1)
    np.testing.assert_allclose(predictions.probability, [(rows[0] + rows[1]) / 2, rows[2], rows[3]])
    # One positive row of two is a majority, as the hold-out split counts it too.
    assert predictions.target.tolist() == [1.0, 0.0, 1.0]


def test_the_scaler_of_the_run_and_the_averaged_model_are_used(
    study: Study, make_cohort: MakeCohort
) -> None:
    cohort = make_cohort(10, most_rows=1)
    center, scale = np.array([0.1, 0.0, -0.2]), np.array([0.5, 1.0, 0.1])
    state = state_of(
        [9.0, 9.0, 9.0, 9.0],
        tail=np.array([2.0, -1.0, 0.5, 0.2]) * 3,
        tail_count=3,
        center=center,
        scale=scale,
    )
    bound = study.scaling.feature_clip
    rows = np.clip((cohort.features - center) / scale, -bound, bound)

    np.testing.assert_allclose(
        predict_patients(state, study, cohort).probability,
        sigmoid(rows @ [2.0, -1.0, 0.5] + 0.2),
    )


def predictions_of(target: list[float], probability: list[float]) -> Predictions:
    return Predictions(target=np.array(target), probability=np.array(probability))


def test_sites_are_joined_in_order() -> None:
    both = joined({"a": predictions_of([1.0], [0.9]), "b": predictions_of([0.0, 1.0], [0.2, 0.4])})

    assert both.target.tolist() == [1.0, 0.0, 1.0]
    assert both.probability.tolist() == [0.9, 0.2, 0.4]


def test_a_site_without_held_out_patients_has_no_metrics(study: Study) -> None:
    found = metrics_by_site(
        {"a": predictions_of([1.0, 0.0], [0.9, 0.6]), "b": predictions_of([], [])}, study
    )

    assert set(found) == {"a"}
    assert (found["a"].patients, found["a"].accuracy) == (2, 0.5)


@pytest.mark.parametrize("epsilon", [None, 1.5])
def test_a_round_is_judged_on_all_held_out_patients(
    study: Study, make_cohort: MakeCohort, epsilon: float | None
) -> None:
    cohort = make_cohort(200, most_rows=1)
    point = round_point(state_of([5.0, 0, 0, 0]), study, cohort, epsilon=epsilon)

    # The outcome follows the first column, which this model reads.
    chosen = (cohort.features[:, 0] > 0) == (cohort.target == 1)
    assert point.accuracy == pytest.approx(chosen.mean())
    assert point.accuracy > 0.7
    assert (point.round, point.epsilon) == (4, epsilon)
