"""Evaluation on held-out patients, with the simulation's full view of them.

A coordinator has no such view: it is computed here in the clear and not charged, and the report
says so. What leaves a hospital are noised sums; see :mod:`fedward.simulations.charged_evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.held_out_sum import patient_scores
from fedward.common.metrics import classification_metrics
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import study_model
from fedward.common.study.scaling import Scaler
from fedward.server.training.state import TrainingState
from fedward.simulations.results import Metrics, RoundPoint
from fedward.simulations.summaries import metrics_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Outcomes and predicted probabilities of one site's held-out patients, both ``[patients]``."""

    target: NDArray[np.float64]
    probability: NDArray[np.float64]


def predict_patients(state: TrainingState, study: Study, cohort: Cohort) -> Predictions:
    """Predict each patient: the mean probability of its rows, against its majority outcome."""
    scaler = Scaler(center=state.center, scale=state.scale, feature_clip=study.scaling.feature_clip)
    scaled = Cohort(
        features=scaler.apply(cohort.features), target=cohort.target, offsets=cohort.offsets
    )
    probability, outcome = patient_scores(study_model(study), state.model_parameters, scaled)
    return Predictions(target=outcome, probability=probability)


def joined(predictions: Mapping[str, Predictions]) -> Predictions:
    """All sites' predictions, one after the other."""
    return Predictions(
        target=np.concatenate([p.target for p in predictions.values()]),
        probability=np.concatenate([p.probability for p in predictions.values()]),
    )


def metrics_by_site(predictions: Mapping[str, Predictions], study: Study) -> dict[str, Metrics]:
    """Metrics of every site that has held-out patients."""
    threshold = study.evaluation.threshold
    return {
        site: metrics_of(p.target, p.probability, threshold=threshold)
        for site, p in predictions.items()
        if len(p.target)
    }


def round_point(
    state: TrainingState, study: Study, held_out: Cohort, *, epsilon: float | None
) -> RoundPoint:
    """The model after a round, on all held-out patients."""
    predictions = predict_patients(state, study, held_out)
    figures = classification_metrics(
        predictions.target, predictions.probability, threshold=study.evaluation.threshold
    )
    return RoundPoint(
        round=state.round,
        accuracy=figures.accuracy,
        auroc=figures.auroc,
        log_loss=figures.log_loss,
        epsilon=epsilon,
    )
