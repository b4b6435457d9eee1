"""Any number of hospitals with generated patients, in the likeness of the embedded data.

Each measurement, as a share of its public range, goes through the logit; there, each class is a
Gaussian with the embedded data's mean and shrunk covariance. Hospitals differ in size, in the share
of malignant tumours and in level (another scanner, another population). Generated patients lie
within the public ranges by construction. They are good for scale and speed; figures of accuracy
on them say nothing about real patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.simulations.hospitals.embedded import embedded_cohort
from fedward.simulations.hospitals.holdout import patient_labels, site_generator
from fedward.simulations.hospitals.hospital import Hospital, Hospitals, check_site_count

PATIENTS_PER_SITE = 120
"""Mean over the sites; their total is exactly this times the number of sites."""
FEWEST_PATIENTS = 24
FEWEST_OF_A_CLASS = 5
SIZE_SPREAD = 0.6
"""Standard deviation of the logarithm of a hospital's size."""
TILT_SPREAD = 0.5
"""Standard deviation of a hospital's malignant share, in log-odds."""
LEVEL_SPREAD = 0.15
"""A hospital's shift of level, as a share of the spread between patients of one class."""
SHRINKAGE = 0.1
"""Weight of the diagonal in each covariance (towards independent measurements)."""
EDGE = 1e-3
"""Shares of the range are kept this far from 0 and 1 before the logit."""


@dataclass(frozen=True, eq=False)
class ClassConditionalGaussian:
    """Per class: mean ``[columns]`` and a Cholesky factor ``[columns, columns]``, on logits."""

    means: tuple[NDArray[np.float64], NDArray[np.float64]]
    factors: tuple[NDArray[np.float64], NDArray[np.float64]]
    positive_share: float

    @classmethod
    def fit(cls, cohort: Cohort) -> ClassConditionalGaussian:
        """Fit to a cohort with one row a patient, features in [-1, 1], and both classes."""
        limit = 1 - 2 * EDGE
        logits = 2 * np.arctanh(np.clip(cohort.features, -limit, limit))
        labels = patient_labels(cohort)
        parts = (logits[~labels], logits[labels])
        return cls(
            means=(parts[0].mean(axis=0), parts[1].mean(axis=0)),
            factors=(_shrunk_factor(parts[0]), _shrunk_factor(parts[1])),
            positive_share=float(labels.mean()),
        )

    def draw(
        self, labels: NDArray[np.bool_], shift: NDArray[np.float64], generator: np.random.Generator
    ) -> NDArray[np.float64]:
        """Features ``[patients, columns]`` in [-1, 1] for these classes, moved by ``shift``."""
        normal = generator.standard_normal((len(labels), len(shift)))
        logits = np.empty_like(normal)
        for label in (0, 1):
            chosen = labels == bool(label)
            logits[chosen] = self.means[label] + normal[chosen] @ self.factors[label].T
        return np.tanh((logits + shift) / 2)


def generated_hospitals(study: Study, *, sites: int, seed: int) -> Hospitals:
    """``sites`` hospitals with 120 generated patients each on average, at least 24.

    Every hospital has both classes. The same study, number of sites and seed give the same
    patients. Raises InputError where the study asks for what the embedded data lack.
    """
    check_site_count(sites, source="command line", field="--sites")
    model = ClassConditionalGaussian.fit(embedded_cohort(study))
    sizes = _sizes(sites, site_generator(seed, "generated sizes", str(sites)))
    digits = max(3, len(str(sites)))
    names = [f"hospital-{number:0{digits}d}" for number in range(1, sites + 1)]
    return Hospitals(
        sites=tuple(
            Hospital(name, _generate(model, int(size), site_generator(seed, "generated", name)))
            for name, size in zip(names, sizes, strict=True)
        ),
        description=(
            f"{int(sizes.sum())} generated patients at {sites} simulated hospitals of "
            f"{sizes.min()} to {sizes.max()} patients, drawn from Gaussians fitted to each class "
            "of scikit-learn's embedded breast-cancer data. The hospitals differ in case mix and "
            "in the level of their measurements. No generated patient is a real one, so "
            "accuracies on them say nothing about real patients."
        ),
    )


def _generate(model: ClassConditionalGaussian, size: int, generator: np.random.Generator) -> Cohort:
    share = model.positive_share
    odds = math.log(share / (1 - share)) + TILT_SPREAD * generator.standard_normal()
    positives = int(generator.binomial(size, 1 / (1 + math.exp(-odds))))
    positives = min(max(positives, FEWEST_OF_A_CLASS), size - FEWEST_OF_A_CLASS)
    labels = generator.permutation(np.arange(size) < positives)
    columns = len(model.means[0])
    # Through a factor, so that a level moves related measurements together.
    shift = LEVEL_SPREAD * (model.factors[0] @ generator.standard_normal(columns))
    return Cohort(
        features=model.draw(labels, shift, generator),
        target=labels.astype(np.float64),
        offsets=np.arange(size + 1, dtype=np.int64),
    )


def _sizes(sites: int, generator: np.random.Generator) -> NDArray[np.int64]:
    weights = np.exp(SIZE_SPREAD * generator.standard_normal(sites))
    spare = (PATIENTS_PER_SITE - FEWEST_PATIENTS) * sites
    cumulative = np.round(np.cumsum(weights) * (spare / weights.sum())).astype(np.int64)
    return np.asarray(FEWEST_PATIENTS + np.diff(cumulative, prepend=0), dtype=np.int64)


def _shrunk_factor(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = np.atleast_2d(np.cov(logits, rowvar=False))
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    return np.asarray(np.linalg.cholesky(shrunk), dtype=np.float64)
