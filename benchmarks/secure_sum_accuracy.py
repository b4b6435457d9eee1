"""AUROC of distributed training against training on the pooled patients, at equal epsilon.

Paired: both train on the patients of one split, and are judged on the same held-out patients, so
that nothing but the noise differs. What the noise leaves open is the standard error: of the mean
over the splits of the differences of means over draws, the splits being given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import breast_cancer
import numpy as np
from heart_disease_splits import checked_split, heart_disease_cohorts, heart_disease_study
from numpy.typing import NDArray
from pipeline import Outcome, outcome_of, trained

from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import changed
from fedward.simulations.hospitals.holdout import concatenate

Data = Literal["breast_cancer", "heart_disease"]
CONFIDENCE = 1.96
"""Standard errors on either side of a 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class PairTask:
    """Train ``draws`` times either way on one split, at ``epsilon``.

    Distributed training keeps it if as many sites as ``colluding`` cheat (1, as shipped, or 0).
    ``folder`` holds the files of heart disease; ``fold`` is one of the breast-cancer benchmark's.
    """

    data: Data
    epsilon: float
    colluding: int
    seed: int
    draws: int
    fold: int = 0
    folder: Path = Path()


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """AUROC on one split, ``[draws]`` each, and the largest executed epsilon of each arm."""

    distributed: NDArray[np.float64]
    pooled: NDArray[np.float64]
    distributed_epsilon: float
    pooled_epsilon: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Means over all splits and draws; ``gap`` is pooled less distributed."""

    data: str
    epsilon: float
    colluding: int
    splits: int
    draws: int
    distributed: float
    pooled: float
    gap: float
    standard_error: float
    distributed_epsilon: float
    pooled_epsilon: float

    @property
    def terms(self) -> str:
        """Data, epsilon and colluding sites in words."""
        return f"{self.data}, epsilon {self.epsilon:g} with {self.colluding} colluding"

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the gap, by the noise alone."""
        reach = CONFIDENCE * self.standard_error
        return self.gap - reach, self.gap + reach


def run_pair(task: PairTask) -> Pair:
    """Train and judge both arms; fresh noise from the operating system each time."""
    study, training, held_out = _split(task)
    terms = {"epsilon": task.epsilon, "colluding": task.colluding}
    study = changed(study, {"privacy": terms})
    pooled = {"pooled": concatenate(list(training.values()))}
    arms: list[list[Outcome]] = []
    for cohorts in (training, pooled):
        runs = [trained(study, cohorts, private=True) for _ in range(task.draws)]
        arms.append([outcome_of(run, study, held_out) for run in runs])
    distributed, together = arms
    return Pair(
        distributed=np.array([outcome.auroc for outcome in distributed]),
        pooled=np.array([outcome.auroc for outcome in together]),
        distributed_epsilon=max(outcome.epsilon or math.nan for outcome in distributed),
        pooled_epsilon=max(outcome.epsilon or math.nan for outcome in together),
    )


def comparison(pairs: Sequence[Pair], *, data: str, epsilon: float, colluding: int) -> Comparison:
    """Average the gap over splits; ValueError without at least two draws on each."""
    draws = {len(arm) for pair in pairs for arm in (pair.distributed, pair.pooled)}
    if len(draws) != 1 or min(draws) < 2:
        raise ValueError(f"every arm needs the same number of draws, at least two: {draws}")
    count = draws.pop()
    distributed = np.array([pair.distributed for pair in pairs])
    pooled = np.array([pair.pooled for pair in pairs])
    variances = (distributed.var(axis=1, ddof=1) + pooled.var(axis=1, ddof=1)) / count
    return Comparison(
        data=data,
        epsilon=epsilon,
        colluding=colluding,
        splits=len(pairs),
        draws=count,
        distributed=float(distributed.mean()),
        pooled=float(pooled.mean()),
        gap=float(pooled.mean() - distributed.mean()),
        standard_error=math.sqrt(float(variances.sum())) / len(pairs),
        distributed_epsilon=max(pair.distributed_epsilon for pair in pairs),
        pooled_epsilon=max(pair.pooled_epsilon for pair in pairs),
    )


def _split(task: PairTask) -> tuple[Study, dict[str, Cohort], dict[str, Cohort]]:
    if task.data == "breast_cancer":
        training, held_out = breast_cancer.fold_of(task.seed, task.fold)
        return load_study(find_study("breast_cancer")), training, held_out
    study = heart_disease_study()
    parts = checked_split(heart_disease_cohorts(task.folder), study, seed=task.seed)
    return study, dict(parts[0]), dict(parts[1])
