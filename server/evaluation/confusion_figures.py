"""Figures that follow from the four noised confusion counts alone, each as a share.

A confusion count has the noise of one number, which is less than that of any sum over bins.
"""

from __future__ import annotations

import math

from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation.noisy_ratios import count, share
from fedward.server.evaluation.results import Estimate


def patients(sums: ScoreSums) -> Estimate:
    """How many were evaluated."""
    return count(patients_of(sums), noise=patients_noise(sums))


def patients_of(sums: ScoreSums) -> float:
    """The noised number of patients: all four counts."""
    return sums.true_positive + sums.false_positive + sums.true_negative + sums.false_negative


def patients_noise(sums: ScoreSums) -> float:
    """Standard deviation of the noise in that number."""
    return 2 * sums.confusion_noise


def positive_share(sums: ScoreSums) -> Estimate:
    """Share of patients with a positive outcome."""
    return _share(
        sums,
        sums.true_positive + sums.false_negative,
        sums.true_negative + sums.false_positive,
        counts=(2, 2),
    )


def accuracy(sums: ScoreSums) -> Estimate:
    """Share of predictions that are right."""
    return _share(
        sums,
        sums.true_positive + sums.true_negative,
        sums.false_positive + sums.false_negative,
        counts=(2, 2),
    )


def sensitivity(sums: ScoreSums) -> Estimate:
    """Share of positive patients who were found."""
    return _share(sums, sums.true_positive, sums.false_negative)


def specificity(sums: ScoreSums) -> Estimate:
    """Share of negative patients who were left alone."""
    return _share(sums, sums.true_negative, sums.false_positive)


def precision(sums: ScoreSums) -> Estimate:
    """Share of positive predictions that are right."""
    return _share(sums, sums.true_positive, sums.false_positive)


def f1(sums: ScoreSums) -> Estimate:
    """Harmonic mean of precision and sensitivity.

    It is 2 q / (1 + q), increasing in the share q of hits among hits, misses and false alarms, so
    the limits of q become those of F1.
    """
    hits = _share(
        sums, sums.true_positive, sums.false_positive + sums.false_negative, counts=(1, 2)
    )
    if hits.value is None or hits.low is None or hits.high is None:
        return hits
    value, low, high = (2 * q / (1 + q) for q in (hits.value, hits.low, hits.high))
    return Estimate.within(value, low, high, most=1.0)


def _share(
    sums: ScoreSums, part: float, rest: float, *, counts: tuple[int, int] = (1, 1)
) -> Estimate:
    """The share of ``part``, where it and the rest are sums of so many confusion counts."""
    part_noise, rest_noise = (math.sqrt(number) * sums.confusion_noise for number in counts)
    return share(part, rest, part_noise=part_noise, rest_noise=rest_noise)
