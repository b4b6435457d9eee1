"""The sum over held-out patients: confusion counts, a histogram of scores, and squared errors.

One patient's vector has three parts, each times a public weight:

- confusion, one-hot [4]: true positive, false positive, true negative, false negative;
- histogram, one-hot [2 x bins]: the predicted probability's bin, for positive patients in the
  first half and for negative ones in the second;
- squared error [1]: (probability - outcome)^2, for the Brier score.

The squared weights add up to 1, so that a patient's vector has an L2 norm of at most 1. Each part
could be had from a finer histogram alone, but with the noise of many bins in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

CONFUSION = 4
_HAIR = 1 - 1e-8
# Numbers of patients are whole and a product is off by at most half a unit in its last place, so
# sums over up to 2^24 patients differ by less than 2e-9 from one more patient's weight: the hair
# covers it, and a norm never goes above 1 by rounding.
CONFUSION_WEIGHT = _HAIR * math.sqrt(0.5)
HISTOGRAM_WEIGHT = _HAIR * math.sqrt(0.4)
SQUARED_ERROR_WEIGHT = _HAIR * math.sqrt(0.1)
_GRID = 2.0**24
"""Squared errors are rounded to whole multiples of 1 / _GRID, so that their sum is exact."""


def score_sums_length(bins: int) -> int:
    """Length of the sum, given the bins of the histogram of one outcome."""
    return CONFUSION + 2 * bins + 1


def score_sum(
    probability: NDArray[np.float64],
    outcome: NDArray[np.float64],
    *,
    threshold: float,
    bins: int,
) -> NDArray[np.float64]:
    """Sum of the vectors of patients [``score_sums_length(bins)``].

    ``probability`` and ``outcome`` (positive from 0.5 on) are [patients]. A probability from
    ``threshold`` on is a positive prediction; bin k holds k/bins <= probability < (k+1)/bins, the
    last one 1 as well. Probabilities beyond [0, 1] are cut off at it. A patient whose probability
    or outcome is not a number adds nothing. ValueError if the two differ in shape.
    """
    if probability.shape != outcome.shape or probability.ndim != 1:
        raise ValueError(f"{probability.shape} probabilities for {outcome.shape} outcomes")
    usable = ~(np.isnan(probability) | np.isnan(outcome))
    score = np.clip(probability[usable], 0.0, 1.0)
    positive = outcome[usable] >= 0.5
    confusion = np.bincount(
        np.where(score >= threshold, np.where(positive, 0, 1), np.where(positive, 3, 2)),
        minlength=CONFUSION,
    )
    place = np.searchsorted(np.arange(1, bins) / bins, score, side="right")
    histogram = np.bincount(place + np.where(positive, 0, bins), minlength=2 * bins)
    errors = np.rint((score - positive) ** 2 * _GRID).astype(np.int64)
    squared_error = int(errors.sum()) / _GRID
    return np.concatenate(
        [
            confusion * CONFUSION_WEIGHT,
            histogram * HISTOGRAM_WEIGHT,
            [squared_error * SQUARED_ERROR_WEIGHT],
        ]
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreSums:
    """A released sum in units of patients: noised, so numbers may be negative or fractions.

    ``positives`` and ``negatives`` [bins] count the patients of each outcome by predicted
    probability, in bins of equal width over [0, 1]. ``confusion_noise``, ``histogram_noise`` and
    ``squared_error_noise`` are standard deviations of the noise in each number of their part; the
    noise of any two numbers is independent.
    """

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float
    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    squared_error: float
    confusion_noise: float
    histogram_noise: float
    squared_error_noise: float

    @classmethod
    def of(cls, total: NDArray[np.float64], *, bins: int, noise_deviation: float) -> Self:
        """Read a released sum [``score_sums_length(bins)``].

        ``noise_deviation`` is the standard deviation of the noise in each coordinate of ``total``,
        0 for an exact sum. ValueError if the length is another.
        """
        if total.shape != (score_sums_length(bins),):
            raise ValueError(f"a sum over {bins} bins cannot have the shape {total.shape}")
        confusion = total[:CONFUSION] / CONFUSION_WEIGHT
        histogram = total[CONFUSION:-1] / HISTOGRAM_WEIGHT
        histogram.flags.writeable = False
        return cls(
            true_positive=float(confusion[0]),
            false_positive=float(confusion[1]),
            true_negative=float(confusion[2]),
            false_negative=float(confusion[3]),
            positives=histogram[:bins],
            negatives=histogram[bins:],
            squared_error=float(total[-1]) / SQUARED_ERROR_WEIGHT,
            confusion_noise=noise_deviation / CONFUSION_WEIGHT,
            histogram_noise=noise_deviation / HISTOGRAM_WEIGHT,
            squared_error_noise=noise_deviation / SQUARED_ERROR_WEIGHT,
        )

    @property
    def bins(self) -> int:
        """Bins of either histogram."""
        return len(self.positives)

    def __add__(self, other: ScoreSums) -> ScoreSums:
        """Sums over other patients added up; variances of the noise add. ValueError: other bins."""
        if self.bins != other.bins:
            raise ValueError(f"sums over {self.bins} and {other.bins} bins cannot be added")
        return ScoreSums(
            true_positive=self.true_positive + other.true_positive,
            false_positive=self.false_positive + other.false_positive,
            true_negative=self.true_negative + other.true_negative,
            false_negative=self.false_negative + other.false_negative,
            positives=self.positives + other.positives,
            negatives=self.negatives + other.negatives,
            squared_error=self.squared_error + other.squared_error,
            confusion_noise=math.hypot(self.confusion_noise, other.confusion_noise),
            histogram_noise=math.hypot(self.histogram_noise, other.histogram_noise),
            squared_error_noise=math.hypot(self.squared_error_noise, other.squared_error_noise),
        )
