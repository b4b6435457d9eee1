"""How a model predicts the patients that it did not see: scores of each, and their bounded sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.prediction import row_probabilities
from fedward.common.models.registry import ModelFamily
from fedward.common.study.class_counts import majority_outcomes
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import study_model
from fedward.common.study.score_sums import score_sum


def patient_scores(
    model: ModelFamily, parameters: NDArray[np.float64], cohort: Cohort
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each patient's probability, the mean over its rows, and its majority outcome, 0 or 1.

    ``cohort`` is scaled as for training. Returns two arrays ``[patients]``, empty for no patients.
    A model with absurd parameters may predict NaN, for the patient it belongs to alone. A patient's
    two numbers follow from its own rows, to the bit, whoever else is in the cohort. ValueError for
    parameters or features of another shape than the model's.
    """
    if cohort.patient_count == 0:
        return np.zeros(0), np.zeros(0)
    by_row = row_probabilities(model, parameters, cohort.features)
    # Each patient's rows are added by themselves, in an order that their number alone decides.
    probability = np.add.reduceat(by_row, cohort.offsets[:-1]) / np.diff(cohort.offsets)
    return probability, majority_outcomes(cohort.target, cohort.offsets)


def held_out_sum(
    study: Study, parameters: NDArray[np.float64], cohort: Cohort
) -> NDArray[np.float64]:
    """The sum over held-out patients that evaluates the model; zeros without patients.

    See :mod:`fedward.common.study.score_sums` for what it holds; a patient adds a vector of an L2
    norm of at most 1, or nothing if its probability is not a number.
    """
    probability, outcome = patient_scores(study_model(study), parameters, cohort)
    return score_sum(
        probability,
        outcome,
        threshold=study.evaluation.threshold,
        bins=study.evaluation.score_bins,
    )
