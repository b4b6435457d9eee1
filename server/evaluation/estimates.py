"""From one release over held-out patients to every figure of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from operator import add

from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation import confusion_figures
from fedward.server.evaluation.auprc import auprc
from fedward.server.evaluation.auroc import auroc
from fedward.server.evaluation.brier import brier
from fedward.server.evaluation.noisy_ratios import count, share
from fedward.server.evaluation.results import CalibrationEstimate, EvaluationEstimate
from fedward.server.evaluation.score_histogram import ScoreHistograms


def estimate(sums: ScoreSums, *, threshold: float) -> EvaluationEstimate:
    """Estimate all figures; ``threshold`` is the one that the study calls patients positive from.

    Everything is computed from the release, so it costs no privacy. Each interval is of 95 % by
    itself; among twenty, one is expected to miss.
    """
    histograms = ScoreHistograms.of(sums, threshold=threshold)
    return EvaluationEstimate(
        patients=confusion_figures.patients(sums),
        positive_share=confusion_figures.positive_share(sums),
        accuracy=confusion_figures.accuracy(sums),
        sensitivity=confusion_figures.sensitivity(sums),
        specificity=confusion_figures.specificity(sums),
        precision=confusion_figures.precision(sums),
        f1=confusion_figures.f1(sums),
        auroc=auroc(histograms),
        auprc=auprc(histograms),
        brier=brier(sums),
        calibration=_calibration(sums),
    )


def estimates_of_groups(
    groups: Mapping[str, ScoreSums], *, threshold: float
) -> dict[str, EvaluationEstimate]:
    """Estimate each group, or each site, by itself."""
    return {name: estimate(sums, threshold=threshold) for name, sums in groups.items()}


def overall_estimate(groups: Mapping[str, ScoreSums], *, threshold: float) -> EvaluationEstimate:
    """Estimate over the patients of all groups, whose sums and variances of noise add up.

    The groups are disjoint. ValueError without a group, or if their bins differ.
    """
    if not groups:
        raise ValueError("an overall estimate needs at least one group")
    return estimate(reduce(add, groups.values()), threshold=threshold)


def _calibration(sums: ScoreSums) -> tuple[CalibrationEstimate, ...]:
    noise = sums.histogram_noise
    return tuple(
        CalibrationEstimate(
            low=place / sums.bins,
            high=(place + 1) / sums.bins,
            patients=count(positive + negative, noise=math.sqrt(2) * noise),
            observed_rate=share(positive, negative, part_noise=noise, rest_noise=noise),
        )
        for place, (positive, negative) in enumerate(
            zip(sums.positives.tolist(), sums.negatives.tolist(), strict=True)
        )
    )
