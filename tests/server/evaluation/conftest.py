"""Populations whose figures are known, and releases over patients drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from fedward.common.study.score_sums import (
    CONFUSION_WEIGHT,
    HISTOGRAM_WEIGHT,
    SQUARED_ERROR_WEIGHT,
    ScoreSums,
)

Floats = NDArray[np.float64]
ATOMS = 241


@dataclass(frozen=True)
class Population:
    """Patients with ``ATOMS`` possible scores; those of either outcome are normal in logits.

    ``separation`` is the distance of the two outcomes' means in standard deviations. ``certainty``
    other than 1 makes the probabilities too sure of themselves, or not enough.
    """

    prevalence: float
    separation: float
    certainty: float = 1.0
    threshold: float = 0.5

    @cached_property
    def cells(self) -> tuple[Floats, Floats, Floats]:
        """Scores [ATOMS] ascending, and the chances to be positive, or negative, with each."""
        place = np.linspace(-4.5, 4.5 + self.separation, ATOMS)
        positive = np.exp(-((place - self.separation) ** 2) / 2)
        negative = np.exp(-(place**2) / 2)
        log_odds = self.separation * (place - self.separation / 2) + logit(self.prevalence)
        return (
            expit(self.certainty * log_odds),
            self.prevalence * positive / positive.sum(),
            (1 - self.prevalence) * negative / negative.sum(),
        )

    @cached_property
    def figures(self) -> dict[str, float]:
        """The true value of every figure, by its definition."""
        score, positive, negative = self.cells
        called = score >= self.threshold
        tp, fp = positive[called].sum(), negative[called].sum()
        fn, tn = positive[~called].sum(), negative[~called].sum()
        above = np.cumsum(positive[::-1])[::-1] - positive / 2
        above_negative = np.cumsum(negative[::-1])[::-1] - negative / 2
        found = {
            "positive_share": tp + fn,
            "accuracy": tp + tn,
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "precision": tp / (tp + fp),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "auroc": negative @ above / (positive.sum() * negative.sum()),
            "auprc": positive @ (above / (above + above_negative)) / positive.sum(),
            "brier": positive @ (1 - score) ** 2 + negative @ score**2,
        }
        return {name: float(value) for name, value in found.items()}

    def release(
        self,
        generator: np.random.Generator,
        *,
        patients: int,
        noise: float,
        bins: int = 20,
        declared: float | None = None,
    ) -> ScoreSums:
        """Sums over a sample, with ``noise`` patients of noise in each confusion count.

        ``declared`` is what the release says about its noise, if that is not the truth.
        """
        score, positive, negative = self.cells
        drawn = generator.multinomial(patients, np.concatenate([positive, negative]))
        ill, healthy = drawn[:ATOMS].astype(np.float64), drawn[ATOMS:].astype(np.float64)
        called = score >= self.threshold
        place = np.searchsorted(np.arange(1, bins) / bins, score, side="right")
        exact = np.concatenate(
            [
                [ill[called].sum(), healthy[called].sum()],
                [healthy[~called].sum(), ill[~called].sum()],
                np.bincount(place, ill, bins),
                np.bincount(place, healthy, bins),
                [ill @ (1 - score) ** 2 + healthy @ score**2],
            ]
        )
        weights = np.repeat(
            [CONFUSION_WEIGHT, HISTOGRAM_WEIGHT, SQUARED_ERROR_WEIGHT], [4, 2 * bins, 1]
        )
        total = weights * exact + noise * CONFUSION_WEIGHT * generator.standard_normal(len(exact))
        said = noise if declared is None else declared
        return ScoreSums.of(total, bins=bins, noise_deviation=said * CONFUSION_WEIGHT)


MakePopulation = Callable[..., Population]
Seeded = Callable[..., np.random.Generator]


@pytest.fixture(scope="session")
def population() -> MakePopulation:
    """Make a population, or have the same one again."""
    return lru_cache(Population)


@pytest.fixture(scope="session")
def seeded() -> Seeded:
    """Make a generator of samples and noise from the numbers given."""

    def make(*seed: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(seed))

    return make


@pytest.fixture(scope="session")
def good(population: MakePopulation) -> Population:
    """An area under the ROC curve of 0.94, half of the patients positive."""
    return population(0.5, 2.2)
