"""Intervals hold the true value in 95 of 100 evaluations, for small and large, clear and noisy.

Each cell is a population with known figures, releases over samples of it, and the share of their
intervals that hold the truth. An estimate that says nothing counts as holding it; how many say
something is tested apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation import confusion_figures
from fedward.server.evaluation.auprc import auprc
from fedward.server.evaluation.auroc import auroc
from fedward.server.evaluation.brier import brier
from fedward.server.evaluation.estimates import estimate
from fedward.server.evaluation.results import Estimate
from fedward.server.evaluation.score_histogram import ScoreHistograms

PATIENTS = (60, 300, 3000, 20000)
NOISE = (0.0, 2.0, 6.0, 20.0)
SHARES = ("positive_share", "accuracy", "sensitivity", "specificity", "precision", "f1")
GOOD, MEDIOCRE = 2.2, 0.8
REPLICATES = 120
LEAST = 0.93


def areas(sums: ScoreSums) -> dict[str, Estimate]:
    histograms = ScoreHistograms.of(sums, threshold=0.5)
    return {"auroc": auroc(histograms), "auprc": auprc(histograms)}


def every_figure(sums: ScoreSums) -> dict[str, Estimate]:
    found = estimate(sums, threshold=0.5)
    return {name: figure for name, figure in found if isinstance(figure, Estimate)}


def shares(sums: ScoreSums) -> dict[str, Estimate]:
    """All but the areas, which take longer."""
    found = {name: getattr(confusion_figures, name)(sums) for name in SHARES}
    return found | {"brier": brier(sums)}


class Tally:
    """How often each figure is said, and how often an interval misses it."""

    def __init__(self, truth: dict[str, float]) -> None:
        self.truth = truth
        self.evaluations = 0
        self.said: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.widths: defaultdict[str, float] = defaultdict(float)

    def add(self, figures: dict[str, Estimate]) -> None:
        self.evaluations += 1
        for name, truth in self.truth.items():
            found = figures.get(name)
            if found is None or found.low is None or found.high is None:
                continue
            self.said[name] += 1
            self.missed[name] += not found.low <= truth <= found.high
            self.widths[name] += found.high - found.low

    def coverage(self, name: str) -> float:
        return 1 - self.missed[name] / self.evaluations

    def width(self, name: str) -> float:
        return self.widths[name] / self.said[name]


def tally(
    population: Any,
    figures: Callable[[ScoreSums], dict[str, Estimate]],
    generator: np.random.Generator,
    *,
    replicates: int = REPLICATES,
    **release: Any,
) -> Tally:
    counted = Tally(population.figures)
    for _ in range(replicates):
        counted.add(figures(population.release(generator, **release)))
    return counted


def plausible(coverage: float, replicates: int) -> bool:
    """Whether a share of hits is one that a coverage of 93 % has in 99 of 100 simulations."""
    return coverage * replicates >= binom.ppf(0.01, replicates, LEAST)


@pytest.mark.parametrize("patients", PATIENTS)
@pytest.mark.parametrize("separation", [GOOD, MEDIOCRE])
@pytest.mark.parametrize("prevalence", [0.1, 0.5])
def test_the_true_areas_are_covered(
    population: Any, seeded: Any, prevalence: float, separation: float, patients: int
) -> None:
    people = population(prevalence, separation)
    for noise in NOISE:
        counted = tally(
            people, areas, seeded(41, patients, int(noise)), patients=patients, noise=noise
        )
        for name in ("auroc", "auprc"):
            assert counted.coverage(name) >= LEAST, f"{name} with noise {noise}"


@pytest.mark.parametrize("patients", PATIENTS)
@pytest.mark.parametrize("separation", [GOOD, MEDIOCRE])
@pytest.mark.parametrize("prevalence", [0.1, 0.5])
def test_every_other_true_figure_is_covered(
    population: Any, seeded: Any, prevalence: float, separation: float, patients: int
) -> None:
    people = population(prevalence, separation)
    hits: Counter[str] = Counter()
    for noise in NOISE:
        counted = tally(
            people,
            shares,
            seeded(42, patients, int(noise)),
            replicates=250,
            patients=patients,
            noise=noise,
        )
        for name in (*SHARES, "brier"):
            hits[name] += 250 - counted.missed[name]
            assert plausible(counted.coverage(name), 250), f"{name} with noise {noise}"
    for name in (*SHARES, "brier"):
        assert hits[name] / (250 * len(NOISE)) >= LEAST, name


@pytest.mark.parametrize("patients", [300, 3000])
def test_rates_of_bins_are_covered(population: Any, seeded: Any, patients: int) -> None:
    people = population(0.5, MEDIOCRE)
    score, positive, negative = people.cells
    place = np.searchsorted(np.arange(1, 20) / 20, score, side="right")
    ill, healthy = np.bincount(place, positive, 20), np.bincount(place, negative, 20)
    generator = seeded(43, patients)
    said = missed = 0
    for _ in range(60):
        release = people.release(generator, patients=patients, noise=6.0)
        for part, p, n in zip(
            estimate(release, threshold=0.5).calibration, ill, healthy, strict=True
        ):
            rate = part.observed_rate
            if rate.low is None or rate.high is None:
                continue
            said += 1
            missed += not rate.low <= p / (p + n) <= rate.high
    assert said > 60
    assert 1 - missed / said >= LEAST


@pytest.mark.parametrize(
    "name", ["accuracy", "sensitivity", "precision", "f1", "brier", "auroc", "auprc"]
)
def test_coverage_fails_if_the_noise_is_passed_over(
    population: Any, seeded: Any, name: str
) -> None:
    people = population(0.5, MEDIOCRE)

    def coverage(declared: float) -> float:
        return tally(
            people,
            areas if name.startswith("au") else shares,
            seeded(44),
            replicates=150,
            patients=600,
            noise=20.0,
            declared=declared,
        ).coverage(name)

    assert coverage(20.0) >= LEAST
    assert coverage(0.0) < 0.8


@pytest.mark.parametrize(
    ("patients", "noise", "widest"),
    [
        (300, 0.0, {"accuracy": 0.09, "brier": 0.06, "auroc": 0.075, "auprc": 0.11}),
        (300, 2.0, {"accuracy": 0.095, "brier": 0.09, "auroc": 0.1, "auprc": 0.15}),
        (3000, 2.0, {"accuracy": 0.027, "brier": 0.018, "auroc": 0.024, "auprc": 0.038}),
        (3000, 20.0, {"accuracy": 0.045, "brier": 0.066, "auroc": 0.07, "auprc": 0.12}),
        (20000, 6.0, {"accuracy": 0.011, "brier": 0.0075, "auroc": 0.012, "auprc": 0.021}),
    ],
)
def test_intervals_are_not_vacuous(
    good: Any, seeded: Any, patients: int, noise: float, widest: dict[str, float]
) -> None:
    counted = tally(
        good, every_figure, seeded(45, patients), replicates=25, patients=patients, noise=noise
    )
    for name, limit in widest.items():
        assert counted.said[name] == 25
        assert counted.width(name) < limit, name
