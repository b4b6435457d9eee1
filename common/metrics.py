"""How well predicted probabilities fit the recorded outcomes: the usual figures of a classifier.

Plain arithmetic on arrays in the clear. Nothing here is private: whoever publishes a figure
computed from patients must charge it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

PROBABILITY_FLOOR = 1e-12
"""The log loss reads probabilities as at least this far from 0 and 1, so that it stays finite."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of outcomes against predictions; a probability at the threshold reads as positive."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def count(self) -> int:
        """All predictions."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def accuracy(self) -> float | None:
        """Share of predictions that are right; None without predictions."""
        return _ratio(self.true_positive + self.true_negative, self.count)

    @property
    def sensitivity(self) -> float | None:
        """Share of positives found (recall); None without positives."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """Share of negatives left alone; None without negatives."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def precision(self) -> float | None:
        """Share of positive predictions that are right; None without any."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and sensitivity; None without positives of either kind."""
        return _ratio(
            2 * self.true_positive,
            2 * self.true_positive + self.false_positive + self.false_negative,
        )


@dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """All figures of one set of predictions; None where a figure is undefined."""

    confusion: Confusion
    accuracy: float
    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    precision: float | None
    f1: float | None
    brier: float
    log_loss: float


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Predictions with a probability in ``[low, high)``; the last bin includes 1.

    Both means are None for an empty bin.
    """

    low: float
    high: float
    count: int
    mean_predicted: float | None
    observed_rate: float | None


def confusion(
    target: NDArray[np.float64], probability: NDArray[np.float64], *, threshold: float
) -> Confusion:
    """Count right and wrong predictions; ``target`` (0 or 1) and ``probability`` are ``[n]``."""
    positive = _checked(target, probability)
    called = probability >= threshold
    true_positive = int(np.count_nonzero(positive & called))
    called_count = int(np.count_nonzero(called))
    positives = int(np.count_nonzero(positive))
    return Confusion(
        true_positive=true_positive,
        false_positive=called_count - true_positive,
        true_negative=positive.size - positives - called_count + true_positive,
        false_negative=positives - true_positive,
    )


def auroc(target: NDArray[np.float64], probability: NDArray[np.float64]) -> float | None:
    """Chance that a random positive is ranked above a random negative; ties count one half.

    The Mann-Whitney statistic over its maximum (Hanley and McNeil 1982). None with one class only.
    """
    positive = _checked(target, probability)
    positives = int(np.count_nonzero(positive))
    negatives = positive.size - positives
    if positives == 0 or negatives == 0:
        return None
    ranks = rankdata(probability)
    wins = float(ranks[positive].sum()) - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def brier_score(target: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    """Mean squared distance of probability and outcome (Brier 1950, for two classes)."""
    _checked(target, probability, empty=False)
    return float(np.mean((probability - target) ** 2))


def log_loss(target: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    """Mean negative log likelihood in nats, of probabilities kept off 0 and 1 by the floor."""
    positive = _checked(target, probability, empty=False)
    likelihood = np.where(positive, probability, 1.0 - probability)
    return float(-np.mean(np.log(np.clip(likelihood, PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR))))


def classification_metrics(
    target: NDArray[np.float64], probability: NDArray[np.float64], *, threshold: float = 0.5
) -> ClassificationMetrics:
    """Every figure of ``[n]`` predictions; ValueError for n = 0 or for values out of range."""
    counts = confusion(target, probability, threshold=threshold)
    accuracy = counts.accuracy
    if accuracy is None:
        raise ValueError("metrics need at least one prediction")
    return ClassificationMetrics(
        confusion=counts,
        accuracy=accuracy,
        auroc=auroc(target, probability),
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        precision=counts.precision,
        f1=counts.f1,
        brier=brier_score(target, probability),
        log_loss=log_loss(target, probability),
    )


def calibration_bins(
    target: NDArray[np.float64], probability: NDArray[np.float64], *, bins: int
) -> tuple[CalibrationBin, ...]:
    """The reliability diagram in ``bins`` bins of equal width, empty ones included."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1: {bins}")
    positive = _checked(target, probability)
    edges = np.arange(bins + 1) / bins
    # Against the stored edges, not probability * bins, so that a value at an edge agrees with both.
    index = np.minimum(np.searchsorted(edges, probability, side="right") - 1, bins - 1)
    counts = np.bincount(index, minlength=bins)
    predicted = np.bincount(index, weights=probability, minlength=bins)
    observed = np.bincount(index, weights=positive.astype(np.float64), minlength=bins)
    return tuple(
        CalibrationBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            count=int(counts[b]),
            mean_predicted=float(predicted[b] / counts[b]) if counts[b] else None,
            observed_rate=float(observed[b] / counts[b]) if counts[b] else None,
        )
        for b in range(bins)
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _checked(
    target: NDArray[np.float64], probability: NDArray[np.float64], *, empty: bool = True
) -> NDArray[np.bool_]:
    """The positives as a mask, after checks that no figure can be silently wrong without."""
    if target.ndim != 1 or target.shape != probability.shape:
        raise ValueError(f"target {target.shape} and probability {probability.shape} must be [n]")
    if not empty and target.size == 0:
        raise ValueError("metrics need at least one prediction")
    positive: NDArray[np.bool_] = np.equal(target, 1)
    if not bool(np.all(positive | (target == 0))):
        raise ValueError("target must hold 0 and 1 alone")
    if not bool(np.all((probability >= 0) & (probability <= 1))):
        raise ValueError("probability must lie in [0, 1]; NaN does not")
    return positive
