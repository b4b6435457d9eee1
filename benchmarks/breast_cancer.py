"""Accuracy on scikit-learn's breast-cancer patients at four hospitals, 5 folds x 3 seeds.

    python benchmarks/run.py breast_cancer

The shipped study, unchanged but for epsilon. Every hospital is split into folds by itself,
stratified and by patient; a fold's test patients are those of all hospitals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from findings import Findings, Table, Target, at_least, at_most, show, table
from numpy.typing import NDArray
from pipeline import Outcome, outcome_of, trained
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from workers import Settings, mapped

from fedward.client.cohort import Cohort
from fedward.common.metrics import auroc
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import changed
from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals
from fedward.simulations.hospitals.holdout import concatenate, fold_split

SITES = 4
SEEDS = (0, 1, 2)
FOLDS = 5
DRAWS = 20
"""Trainings with fresh noise on each fold."""
EPSILONS = (0.5, 1.0, 1.9, 3.0, 8.0)
WANTED = {1.0: (0.955, 0.985), 1.9: (0.965, 0.990)}
"""Lowest accuracy and AUROC by epsilon."""
FROM_POOLED = 0.003

PUBLISHED = (
    ("linear SVM, not private (one split of 80 to 20)", "-", ".956"),
    ("federated with DP, literature", "1.9", ".961"),
    ("4 sites, record-level DP-GD, scaler and tuning not charged", "1", ".952"),
    ("the same", "1.9", ".960"),
    ("the same", "3", ".965"),
    ("the same, not private", "-", ".974"),
)


@dataclass(frozen=True, kw_only=True)
class FoldTask:
    """Train ``draws`` times on one fold; ``epsilon`` None is without privacy."""

    seed: int
    fold: int
    epsilon: float | None
    pooled: bool
    draws: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """Accuracy and AUROC of one arm, each ``[draws, folds of all seeds]``."""

    label: str
    accuracy: NDArray[np.float64]
    auroc: NDArray[np.float64]
    epsilon: float | None = None
    epsilon_alone: float | None = None

    @property
    def means(self) -> tuple[float, float]:
        """Accuracy and AUROC over all draws and folds."""
        return float(self.accuracy.mean()), float(self.auroc.mean())

    def passes(self, *, accuracy: float, auroc: float) -> int:
        """In how many draws the means over the folds reach both bounds."""
        both = (self.accuracy.mean(axis=1) >= accuracy) & (self.auroc.mean(axis=1) >= auroc)
        return int(both.sum())


def measure(settings: Settings, *, draws: int = DRAWS) -> Findings:
    """Train every arm on every fold."""
    wanted: list[tuple[float | None, bool, int]] = [(None, False, 1), (None, True, 1)]
    wanted += [(epsilon, False, draws) for epsilon in EPSILONS]
    tasks = [
        FoldTask(seed=seed, fold=fold, epsilon=epsilon, pooled=pooled, draws=count)
        for epsilon, pooled, count in wanted
        for seed, fold in product(SEEDS, range(FOLDS))
    ]
    done = mapped(run_fold, tasks, settings)
    size = len(SEEDS) * FOLDS
    groups = [done[start : start + size] for start in range(0, len(done), size)]
    federated, pooled = (
        _arm("federated, not private", groups[0]),
        _arm("pooled, not private", groups[1]),
    )
    private = {
        epsilon: _arm(f"federated, distributed DP, epsilon {epsilon:g}", group)
        for epsilon, group in zip(EPSILONS, groups[2:], strict=True)
    }
    arms = [_scikit_learn(), pooled, federated, *private.values()]
    return Findings(
        title="Breast cancer, four hospitals",
        about=(
            f"{SITES} hospitals made from scikit-learn's embedded data, {FOLDS} folds x "
            f"{len(SEEDS)} seeds by patient, delta {_study().privacy.delta:g}, the shipped study "
            f"with its private scaler charged. Each private figure is the mean of {draws} draws of "
            f"the noise, each over {size} trainings."
        ),
        tables=(_table_of(arms, draws), _published()),
        targets=tuple(_targets(federated, pooled, private)),
        notes=(
            "sd is the standard deviation, over draws of the noise, of the mean over the "
            f"{size} trainings; `draws that pass` counts draws whose means reach both targets.",
            "epsilon is accounted from the executed releases, scaler included; epsilon_alone is "
            "what is left for a hospital if all others collude with the coordinator.",
            "scikit-learn's reference is LogisticRegression (C = 1) on standardised pooled data, "
            "on the same folds.",
        ),
        figures={
            arm.label: {
                "accuracy_by_draw": arm.accuracy.mean(axis=1).tolist(),
                "auroc_by_draw": arm.auroc.mean(axis=1).tolist(),
                "epsilon": arm.epsilon,
                "epsilon_alone": arm.epsilon_alone,
            }
            for arm in arms
        },
    )


def run_fold(task: FoldTask) -> list[Outcome]:
    """Train and judge one fold, once a draw."""
    study = _study()
    if task.epsilon is not None:
        study = changed(study, {"privacy": {"epsilon": task.epsilon}})
    training, held_out = fold_of(task.seed, task.fold)
    if task.pooled:
        training = {"pooled": concatenate(list(training.values()))}
    runs = [trained(study, training, private=task.epsilon is not None) for _ in range(task.draws)]
    return [outcome_of(run, study, held_out) for run in runs]


@lru_cache(maxsize=4)
def fold_of(seed: int, fold: int) -> tuple[dict[str, Cohort], dict[str, Cohort]]:
    """Training and test patients of all hospitals."""
    hospitals = breast_cancer_hospitals(_study(), sites=SITES, seed=seed)
    parts = {
        hospital.name: fold_split(
            hospital.cohort, folds=FOLDS, fold=fold, seed=seed, site=hospital.name
        )
        for hospital in hospitals.sites
    }
    return {n: part[0] for n, part in parts.items()}, {n: part[1] for n, part in parts.items()}


@lru_cache(maxsize=1)
def _study() -> Study:
    return load_study(find_study("breast_cancer"))


def _arm(label: str, folds: Sequence[Sequence[Outcome]]) -> Arm:
    outcomes = [outcome for fold in folds for outcome in fold]
    epsilons = [o.epsilon for o in outcomes if o.epsilon is not None]
    alone = [o.epsilon_alone for o in outcomes if o.epsilon_alone is not None]
    return Arm(
        label=label,
        accuracy=np.array([[o.accuracy for o in fold] for fold in folds]).T,
        auroc=np.array([[o.auroc for o in fold] for fold in folds]).T,
        epsilon=max(epsilons, default=None),
        epsilon_alone=max(alone, default=None),
    )


def _scikit_learn() -> Arm:
    outcomes = []
    for seed, fold in product(SEEDS, range(FOLDS)):
        training, held_out = (concatenate(list(part.values())) for part in fold_of(seed, fold))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(training.features, training.target)
        probability = model.predict_proba(held_out.features)[:, 1]
        right = (probability >= 0.5) == (held_out.target == 1)
        ranked = auroc(held_out.target, probability)
        outcomes.append((float(right.mean()), float("nan") if ranked is None else ranked))
    figures = np.array(outcomes)
    return Arm(
        label="pooled, scikit-learn's LogisticRegression",
        accuracy=figures[None, :, 0],
        auroc=figures[None, :, 1],
    )


def _table_of(arms: Sequence[Arm], draws: int) -> Table:
    rows = []
    for arm in arms:
        private = arm.epsilon is not None and arm.epsilon_alone is not None
        target = next((e for e in WANTED if arm.label.endswith(f"epsilon {e:g}")), None)
        passing = ""
        if target is not None:
            accuracy, ranked = WANTED[target]
            passing = f"{arm.passes(accuracy=accuracy, auroc=ranked)} of {draws}"
        cells = [arm.label]
        for figures in (arm.accuracy, arm.auroc):
            by_draw = figures.mean(axis=1)
            cells += [f"{by_draw.mean():.4f}", f"{by_draw.std(ddof=1):.4f}" if private else "-"]
        cells += [f"{arm.epsilon:.4f}" if private else "-"]
        cells += [f"{arm.epsilon_alone:.4f}" if private else "-", passing or "-"]
        rows.append(cells)
    columns = ("model", "accuracy", "sd", "AUROC", "sd", "epsilon", "epsilon_alone")
    return table(
        f"Means over {FOLDS} folds x {len(SEEDS)} seeds", (*columns, "draws that pass"), rows
    )


def _published() -> Table:
    return table("Published, same data", ("method", "epsilon", "accuracy"), PUBLISHED)


def _targets(federated: Arm, pooled: Arm, private: dict[float, Arm]) -> list[Target]:
    targets = []
    for epsilon, (accuracy, ranked) in WANTED.items():
        means = private[epsilon].means
        targets.append(at_least(f"accuracy at epsilon {epsilon:g}", means[0], accuracy))
        targets.append(at_least(f"AUROC at epsilon {epsilon:g}", means[1], ranked))
        spent = private[epsilon].epsilon
        targets.append(
            at_most(f"executed epsilon, study at {epsilon:g}", spent or float("nan"), epsilon)
        )
    for index, name in enumerate(("accuracy", "AUROC")):
        gap = abs(federated.means[index] - pooled.means[index])
        targets.append(at_most(f"not private, {name}: federated from pooled", gap, FROM_POOLED))
    return targets


if __name__ == "__main__":
    show(measure(Settings()), Console())
