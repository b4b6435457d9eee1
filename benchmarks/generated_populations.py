"""Generated patients to choose hyper-parameters on: simulated populations, none of them evaluated.

One population, drawn from its own seed:

- prevalence p ~ U(.3, .5); k ~ U{4..8} latent factors; distance D ~ 1.3 U(3.2, 4.6) of the classes
  in a random direction a (unit length, a_i ~ |N(0, 1)| / sqrt(i)); the ill vary more, by a factor
  1 + U(0, 1)
- y ~ Bernoulli(p); f ~ N(y D a, s_y^2 I) with s_0 = 1
- column j reads s_j = <l_j, f> + tau_j N(0, 1), with l_j of unit length falling as 1/sqrt(i), all
  positive on the first factor, and tau_j ~ U(.2, .8)
- half of the columns are skewed to the right: exp(h_j s_j), h_j ~ U(.2, .8)
- the public range of a column is its .05 % to 99.95 % quantile, each end moved out by U(0, .25) of
  the width
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort

RANGE_PATIENTS = 50_000
RANGE_TAIL = 0.0005
POPULATION_STREAM = 2024
PATIENT_STREAM = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """A way to draw patients of ``columns`` measurements, and the public range of each."""

    prevalence: float
    direction: NDArray[np.float64]
    spread_of_ill: float
    loadings: NDArray[np.float64]
    error: NDArray[np.float64]
    skewed: NDArray[np.bool_]
    skewness: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, seed: int, *, columns: int) -> Population:
        """The population of a seed; the same for the same seed and number of columns."""
        generator = np.random.default_rng([POPULATION_STREAM, seed])
        factors = int(generator.integers(4, 9))
        prevalence = float(generator.uniform(0.3, 0.5))
        distance = 1.3 * float(generator.uniform(3.2, 4.6))
        spread_of_ill = 1 + float(generator.random())
        rank = np.arange(1, factors + 1)
        direction = np.abs(generator.normal(size=factors)) / np.sqrt(rank)
        loadings = generator.normal(size=(columns, factors)) / np.sqrt(rank)
        loadings[:, 0] = np.abs(loadings[:, 0])
        unbounded = cls(
            prevalence=prevalence,
            direction=distance * direction / np.linalg.norm(direction),
            spread_of_ill=spread_of_ill,
            loadings=loadings / np.linalg.norm(loadings, axis=1, keepdims=True),
            error=generator.uniform(0.2, 0.8, columns),
            skewed=generator.random(columns) < 0.5,
            skewness=generator.uniform(0.2, 0.8, columns),
            low=np.full(columns, -np.inf),
            high=np.full(columns, np.inf),
        )
        readings, _ = unbounded.readings(RANGE_PATIENTS, generator)
        low, high = np.quantile(readings, [RANGE_TAIL, 1 - RANGE_TAIL], axis=0)
        margin = generator.uniform(0, 0.25, (2, columns)) * (high - low)
        return cls(**{**vars(unbounded), "low": low - margin[0], "high": high + margin[1]})

    def readings(
        self, patients: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Raw measurements ``[patients, columns]`` and outcomes ``[patients]``."""
        ill = (generator.random(patients) < self.prevalence).astype(np.float64)
        spread = 1 + (self.spread_of_ill - 1) * ill
        factors = generator.normal(size=(patients, len(self.direction))) * spread[:, None]
        factors += ill[:, None] * self.direction
        noise = generator.normal(size=(patients, len(self.error))) * self.error
        signal = factors @ self.loadings.T + noise
        return np.where(self.skewed, np.exp(self.skewness * signal), signal), ill

    def cohort(self, patients: int, generator: np.random.Generator) -> Cohort:
        """Patients of one row each, as a site holds them: cut to the range, scaled to [-1, 1]."""
        readings, ill = self.readings(patients, generator)
        share = (np.clip(readings, self.low, self.high) - self.low) / (self.high - self.low)
        return Cohort(features=2 * share - 1, target=ill, offsets=np.arange(patients + 1))


def drawn(seed: int, *, columns: int, training: int, held_out: int) -> tuple[Cohort, Cohort]:
    """Training and held-out patients of the population of ``seed``."""
    population = Population.of(seed, columns=columns)
    generator = np.random.default_rng([PATIENT_STREAM, seed])
    return population.cohort(training, generator), population.cohort(held_out, generator)
