"""From the seeds of one arm to its row of the table: intervals, worst sites, pooled calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from fedward.common.metrics import calibration_bins, classification_metrics
from fedward.simulations.results import (
    ArmKind,
    ArmResult,
    CalibrationBin,
    ChargedEvaluation,
    CrossCheck,
    Interval,
    Metrics,
    RoundPoint,
    SeedResult,
    Traffic,
)

CONFIDENCE: Final = 0.95

Predictions = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Targets (0 or 1) and predicted probabilities of held-out patients, both ``[n]``."""


def metrics_of(
    target: NDArray[np.float64],
    probability: NDArray[np.float64],
    *,
    threshold: float,
) -> Metrics:
    """The figures of one set of predictions, ``[n]`` with n > 0, one of each patient."""
    figures = classification_metrics(target, probability, threshold=threshold)
    return Metrics(
        patients=figures.confusion.count,
        accuracy=figures.accuracy,
        auroc=figures.auroc,
        sensitivity=figures.sensitivity,
        specificity=figures.specificity,
        f1=figures.f1,
        brier=figures.brier,
        precision=figures.precision,
        log_loss=figures.log_loss,
    )


def interval_of(values: Iterable[float | None]) -> Interval | None:
    """Mean and 95 % Student t interval of the defined values; None when there is none.

    With n values: mean +/- t(0.975, n - 1) s / sqrt(n). It covers what changes with the seed
    (split, start, noise) and takes the seeds as independent; that the same patients are split
    anew each time makes it too narrow as a statement about other patients. It is not cut off at
    0 and 1.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if known.size == 0:
        return None
    mean = float(known.mean())
    if known.size == 1:
        return Interval(mean=mean, low=None, high=None)
    quantile = float(student_t.ppf(0.5 + CONFIDENCE / 2, known.size - 1))
    half = quantile * float(known.std(ddof=1)) / math.sqrt(known.size)
    return Interval(mean=mean, low=mean - half, high=mean + half)


def worst_site_accuracy(seed: SeedResult) -> float | None:
    """Lowest accuracy among the sites with held-out patients; None when no site has any."""
    return min((m.accuracy for m in seed.by_site.values() if m.patients > 0), default=None)


def summary_of(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """An interval for each figure of the table; a figure that no seed defines is left out."""
    columns: dict[str, list[float | None]] = {
        "accuracy": [seed.overall.accuracy for seed in seeds],
        "auroc": [seed.overall.auroc for seed in seeds],
        "sensitivity": [seed.overall.sensitivity for seed in seeds],
        "specificity": [seed.overall.specificity for seed in seeds],
        "precision": [seed.overall.precision for seed in seeds],
        "f1": [seed.overall.f1 for seed in seeds],
        "brier": [seed.overall.brier for seed in seeds],
        "log_loss": [seed.overall.log_loss for seed in seeds],
        "worst_site_accuracy": [worst_site_accuracy(seed) for seed in seeds],
        "seconds": [seed.seconds for seed in seeds],
    }
    intervals = {name: interval_of(values) for name, values in columns.items()}
    return {name: found for name, found in intervals.items() if found is not None}


def pooled_calibration(predictions: Iterable[Predictions], *, bins: int) -> list[CalibrationBin]:
    """One reliability diagram of the predictions of all seeds (and sites) together."""
    parts = list(predictions)
    if not parts:
        return []
    target = np.concatenate([part[0] for part in parts])
    probability = np.concatenate([part[1] for part in parts])
    return [
        CalibrationBin(
            low=found.low,
            high=found.high,
            patients=found.count,
            mean_predicted=found.mean_predicted,
            observed_rate=found.observed_rate,
        )
        for found in calibration_bins(target, probability, bins=bins)
    ]


def mean_rounds(runs: Sequence[Sequence[RoundPoint]]) -> list[RoundPoint]:
    """Round by round, the mean over the seeds that came so far; epsilon is the largest of any.

    A seed whose budget went to lost attempts ends early. ValueError if a seed does not report its
    rounds one after the other.
    """
    first = min((run[0].round for run in runs if run), default=0)
    for run in runs:
        if [point.round for point in run] != list(range(first, first + len(run))):
            raise ValueError("a seed must report every round, one after the other")
    most = max((len(run) for run in runs), default=0)
    return [_mean_point([run[place] for run in runs if len(run) > place]) for place in range(most)]


def build_arm(
    *,
    kind: ArmKind,
    label: str,
    seeds: Sequence[SeedResult],
    rounds: Sequence[Sequence[RoundPoint]],
    predictions: Iterable[Predictions],
    bins: int,
    target_epsilon: float | None = None,
    epsilon: float | None = None,
    epsilon_alone: float | None = None,
    delta: float | None = None,
    cross_check: CrossCheck | None = None,
    traffic: Traffic | None = None,
    charged: Sequence[ChargedEvaluation] = (),
) -> ArmResult:
    """One row of the table.

    ``rounds`` has one list of points for each seed (``epsilon`` as spent by that seed);
    ``predictions`` those of all seeds. Epsilons are the worst seed's, for the caller to choose.
    """
    if not seeds:
        raise ValueError(f"arm {label!r} has no seed")
    return ArmResult(
        kind=kind,
        label=label,
        target_epsilon=target_epsilon,
        epsilon=epsilon,
        epsilon_alone=epsilon_alone,
        delta=delta,
        summary=summary_of(seeds),
        seeds=list(seeds),
        rounds=mean_rounds(rounds),
        calibration=pooled_calibration(predictions, bins=bins),
        cross_check=cross_check,
        traffic=traffic,
        charged_evaluation=list(charged),
    )


def _mean_point(points: Sequence[RoundPoint]) -> RoundPoint:
    ranked = [point.auroc for point in points if point.auroc is not None]
    spent = [point.epsilon for point in points if point.epsilon is not None]
    return RoundPoint(
        round=points[0].round,
        accuracy=float(np.mean([point.accuracy for point in points])),
        auroc=float(np.mean(ranked)) if ranked else None,
        log_loss=float(np.mean([point.log_loss for point in points])),
        epsilon=max(spent, default=None),
    )
