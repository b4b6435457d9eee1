from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fedward.simulations.results import ExperimentResult, Metrics, RoundPoint

FIGURES: dict[str, Any] = {
    "patients": 3,
    "accuracy": 1 / 3,
    "auroc": None,
    "sensitivity": 0.5,
    "specificity": None,
    "f1": None,
    "brier": 0.25,
}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    # It would be written as null, and an epsilon of null reads as "not private".
    with pytest.raises(ValidationError):
        RoundPoint(round=1, accuracy=0.5, auroc=None, log_loss=0.7, epsilon=value)
    with pytest.raises(ValidationError):
        Metrics.model_validate(FIGURES | {"brier": value})


def test_figures_come_back_to_the_last_digit() -> None:
    metrics = Metrics.model_validate(FIGURES)

    assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_unknown_and_missing_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        Metrics.model_validate(FIGURES | {"more": 1})
    with pytest.raises(ValidationError):
        Metrics.model_validate({"patients": 3})
    with pytest.raises(ValidationError):
        ExperimentResult.model_validate({"format": "fedward-experiment-2"})


def test_results_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Metrics.model_validate(FIGURES).accuracy = 1.0  # type: ignore[misc]


def test_results_that_do_not_speak_of_masks_had_none() -> None:
    # The cautious reading: without masks epsilon_alone is the number against the coordinator.
    assert ExperimentResult.model_fields["masked"].default is False
