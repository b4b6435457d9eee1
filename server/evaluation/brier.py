"""The Brier score from the noised sum of squared errors over the noised number of patients."""

from __future__ import annotations

import math

import numpy as np

from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation.confusion_figures import patients_noise, patients_of
from fedward.server.evaluation.noisy_ratios import mean
from fedward.server.evaluation.results import Estimate, Z


def brier(sums: ScoreSums) -> Estimate:
    """Mean squared distance of predicted probability and outcome (Brier 1950, for two classes).

    Unknown if the number of patients cannot be told from 0.
    """
    patients = patients_of(sums)
    return mean(
        sums.squared_error,
        patients,
        total_noise=sums.squared_error_noise,
        patients_noise=patients_noise(sums),
        relative_variance=_relative_variance(sums, patients),
    )


def _relative_variance(sums: ScoreSums, patients: float) -> float:
    """How much squared errors vary over patients, as a part of the most that their mean allows.

    The release has their sum and not that of their squares, so the latter is bounded from the
    histogram: the fourth power of an error is at most that at the far edge of the patient's bin.
    One patient who is wholly misjudged is added: where few patients make most of the variance,
    a small sample may lack them. Where the noise hides it, the variance is the largest possible.
    """
    if patients <= 0 or not 0 < sums.squared_error < patients:
        return 1.0
    score = sums.squared_error / patients
    largest = score * (1 - score)
    if largest == 0:  # a mean so near 0 or 1 that it cannot be told from it
        return 1.0
    edges = np.arange(sums.bins + 1) / sums.bins
    of_positive, of_negative = (1 - edges[:-1]) ** 4, edges[1:] ** 4
    fourth_powers = float(sums.positives @ of_positive + sums.negatives @ of_negative) + 1
    weights = math.sqrt(float(of_positive @ of_positive + of_negative @ of_negative))
    most = (fourth_powers + Z * sums.histogram_noise * weights) / patients
    return min(max((most - score**2) / largest, 0.0), 1.0)
