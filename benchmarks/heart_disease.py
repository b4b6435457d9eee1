"""Accuracy at the four real hospitals of UCI Heart Disease, prepared and split as FLamby does.

    python benchmarks/run.py heart_disease [--data FOLDER]

Needs the four UCI files, in ``../shared/data/heart_disease`` unless told otherwise. 740 patients
without a missing value; 104, 89, 16 and 45 of them are test patients. The shipped study, unchanged
but for epsilon. The headline is the mean over the splits of seeds 0 to 4; more splits, and the one
split that FLamby itself uses, stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from findings import Findings, Table, at_least, show, table
from heart_disease_notes import (
    FLAMBY_POOLED,
    HEADLINE_SEEDS,
    NOT_PRIVATE_WANTED,
    luck_of_five,
    patients_right,
    penalty_of,
)
from heart_disease_splits import (
    FLAMBY_RANDOM_STATE,
    PATIENTS,
    TEST_SIZES,
    checked_split,
    heart_disease_cohorts,
    heart_disease_study,
)
from numpy.typing import NDArray
from pipeline import Outcome, outcome_of, trained
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from workers import Settings, mapped

from fedward.simulations.arms import changed
from fedward.simulations.hospitals.holdout import concatenate

SEEDS = 25
MANY_SEEDS = 200
"""Splits without privacy that tell how much a mean over five moves by luck."""
DRAWS = 10
EPSILONS = (0.5, 1.0, 3.0, 8.0)
PRIVATE_WANTED = (1.0, 0.70)
"""Epsilon, and lowest mean accuracy of the four sites."""


PUBLISHED = (
    ("FLamby, pooled training", "-", f"{FLAMBY_POOLED:.4f}".lstrip("0"), "-"),
    ("FLamby, FedAvg", "-", ".7480", "-"),
    ("FLamby, FedAdam", "-", ".7787", "-"),
    ("FLamby, Cyclic", "-", ".7850", "-"),
    ("FLamby, DP FedAvg without noise", "-", "-", ".7125"),
    ("FLamby, DP FedAvg, claimed epsilon 10", "14.3 / 15.6 / 48.4 / 23.6", "-", ".7004"),
    ("FLamby, DP FedAvg, claimed epsilon 1", "1.47 / 1.60 / 4.21 / 2.33", "-", ".6853"),
)

LABELS = (
    "federated, not private",
    "pooled, not private",
    *(f"federated, distributed DP, epsilon {epsilon:g}" for epsilon in EPSILONS),
    "federated, not private, without the L2 penalty",
    f"federated, distributed DP, epsilon {PRIVATE_WANTED[0]:g}, without the L2 penalty",
)


@dataclass(frozen=True, kw_only=True)
class SeedTask:
    """Train ``draws`` times on one split; ``epsilon`` None is without privacy.

    ``seed`` None is FLamby's own split; ``penalised`` False leaves out the study's L2 penalty.
    """

    folder: Path
    seed: int | None
    epsilon: float | None
    pooled: bool
    draws: int
    penalised: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """Accuracy on all test patients, and mean of the sites', each ``[draws, seeds]``."""

    label: str
    accuracy: NDArray[np.float64]
    site_mean: NDArray[np.float64]
    by_site: NDArray[np.float64]
    epsilon: float | None
    epsilon_alone: float | None


def measure(
    settings: Settings, *, seeds: int = SEEDS, many_seeds: int = MANY_SEEDS, draws: int = DRAWS
) -> Findings:
    """Train every arm on every split; without the files, say so and measure nothing."""
    title = "Heart disease, four real hospitals"
    about = (
        f"UCI Heart Disease as FLamby prepares it: {PATIENTS} patients, test sets of "
        f"{', '.join(str(size) for size in TEST_SIZES.values())}; the shipped study with its "
        "private scaler charged."
    )
    folder = settings.heart_disease
    if not folder.is_dir():
        line = "the four UCI files are not there; they are looked for in "
        line += "`../shared/data/heart_disease`, or where `--data` says"
        return Findings(title=title, about=about, not_measured=(line,))
    wanted: list[tuple[float | None, bool, int]] = [(None, False, 1), (None, True, 1)]
    wanted += [(epsilon, False, draws) for epsilon in EPSILONS]
    tasks = [
        SeedTask(folder=folder, seed=seed, epsilon=epsilon, pooled=pooled, draws=count)
        for epsilon, pooled, count in wanted
        for seed in (*range(seeds), None)
    ]
    tasks += [
        SeedTask(folder=folder, seed=seed, epsilon=None, pooled=False, draws=1)
        for seed in range(seeds, many_seeds)
    ]
    # The penalty came into the study after a first measurement, so its effect is shown.
    tasks += [
        SeedTask(
            folder=folder, seed=seed, epsilon=epsilon, pooled=False, draws=count, penalised=False
        )
        for epsilon, count in ((None, 1), (PRIVATE_WANTED[0], draws))
        for seed in (*range(seeds), None)
    ]
    done = mapped(run_seed, tasks, settings)
    step = seeds + 1
    groups = [done[start : start + step] for start in range(0, step * len(wanted), step)]
    many = _arm("", [*groups[0][:-1], *done[step * len(wanted) : -2 * step]]).accuracy[0]
    groups += [done[-2 * step : -step], done[-step:]]
    own = [_arm(label, group[-1:]) for label, group in zip(LABELS, groups, strict=True)]
    arms = [_arm(label, group[:-1]) for label, group in zip(LABELS, groups, strict=True)]
    study = heart_disease_study()
    reference = [_scikit_learn(folder, seed) for seed in (*range(seeds), None)]
    private = arms[2 + EPSILONS.index(PRIVATE_WANTED[0])]
    headline = f"seeds 0 to {HEADLINE_SEEDS - 1}"
    return Findings(
        title=title,
        about=f"{about} delta {study.privacy.delta:g}, {draws} draws of noise on each split.",
        tables=(
            _table_of(f"Accuracy, {headline}", arms, reference[:HEADLINE_SEEDS]),
            _table_of(f"Accuracy, seeds 0 to {seeds - 1}", arms, reference[:-1]),
            _table_of("Accuracy on the one split that FLamby uses", own, reference[-1:]),
            table(
                "Published (FLamby's one split, 5 seeds of training)",
                ("method", "epsilon as replayed", "all test patients", "mean of sites"),
                PUBLISHED,
            ),
        ),
        targets=(
            at_least(
                f"federated, not private: accuracy on all test patients, {headline}",
                float(arms[0].accuracy[:, :HEADLINE_SEEDS].mean()),
                NOT_PRIVATE_WANTED,
            ),
            at_least(
                "federated, not private: accuracy on all test patients, FLamby's own split",
                float(own[0].accuracy.mean()),
                NOT_PRIVATE_WANTED,
            ),
            at_least(
                f"federated, not private: accuracy on all test patients, {many_seeds} seeds",
                float(many.mean()),
                NOT_PRIVATE_WANTED,
            ),
            at_least(
                f"epsilon {PRIVATE_WANTED[0]:g}: mean accuracy of the sites, {headline}",
                float(private.site_mean[:, :HEADLINE_SEEDS].mean()),
                PRIVATE_WANTED[1],
            ),
        ),
        notes=(
            luck_of_five(many),
            penalty_of(study),
            patients_right(own[0].accuracy.item()),
            "sd is that of one training, over splits and noise (on FLamby's split: over noise). "
            "scikit-learn is LogisticRegression (C = 1) on standardised pooled data.",
            "FLamby's split is scikit-learn's train_test_split at each site with random_state "
            f"{FLAMBY_RANDOM_STATE}, stratified except where a class has two patients or fewer.",
            "epsilon is accounted from the executed releases and holds for every patient; for "
            "FLamby it is replayed, centre by centre, from the steps that its code executes.",
        ),
        figures={
            "federated_not_private_by_seed": many.tolist(),
            "arms": {
                arm.label: {
                    "accuracy": arm.accuracy.tolist(),
                    "site_mean": arm.site_mean.tolist(),
                    "by_site": dict(zip(TEST_SIZES, arm.by_site.tolist(), strict=True)),
                    "flamby_split_accuracy": flamby.accuracy.ravel().tolist(),
                    "flamby_split_site_mean": flamby.site_mean.ravel().tolist(),
                    "epsilon": arm.epsilon,
                    "epsilon_alone": arm.epsilon_alone,
                }
                for arm, flamby in zip(arms, own, strict=True)
            },
        },
    )


def run_seed(task: SeedTask) -> list[Outcome]:
    """Train and judge one split, once a draw."""
    study = heart_disease_study()
    if task.epsilon is not None:
        study = changed(study, {"privacy": {"epsilon": task.epsilon}})
    if not task.penalised:
        study = changed(study, {"training": study.training.model_dump() | {"l2": 0.0}})
    training, held_out = checked_split(heart_disease_cohorts(task.folder), study, seed=task.seed)
    if task.pooled:
        training = {"pooled": concatenate(list(training.values()))}
    runs = [trained(study, training, private=task.epsilon is not None) for _ in range(task.draws)]
    return [outcome_of(run, study, held_out) for run in runs]


def _arm(label: str, seeds: Sequence[Sequence[Outcome]]) -> Arm:
    outcomes = [outcome for seed in seeds for outcome in seed]
    epsilons = [o.epsilon for o in outcomes if o.epsilon is not None]
    alone = [o.epsilon_alone for o in outcomes if o.epsilon_alone is not None]
    return Arm(
        label=label,
        accuracy=np.array([[o.accuracy for o in seed] for seed in seeds]).T,
        site_mean=np.array([[o.site_mean for o in seed] for seed in seeds]).T,
        by_site=np.array([o.by_site for o in outcomes]).mean(axis=0),
        epsilon=max(epsilons, default=None),
        epsilon_alone=max(alone, default=None),
    )


def _scikit_learn(folder: Path, seed: int | None) -> tuple[float, float]:
    """Accuracy on all test patients, and mean of the sites', of a plain pooled model."""
    training, held_out = checked_split(
        heart_disease_cohorts(folder), heart_disease_study(), seed=seed
    )
    everyone = concatenate(list(training.values()))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(everyone.features, everyone.target)
    right = [model.predict(part.features) == part.target for part in held_out.values()]
    return float(np.concatenate(right).mean()), float(np.mean([site.mean() for site in right]))


def _table_of(title: str, arms: Sequence[Arm], reference: Sequence[tuple[float, float]]) -> Table:
    """The arms on as many splits, from the first, as the reference has."""
    plain = np.array(reference).T
    rows = [["pooled, scikit-learn's LogisticRegression"]]
    for figures in plain:
        rows[0] += [f"{figures.mean():.4f}", _spread(figures)]
    rows[0] += ["-", "-"]
    for arm in arms:
        cells = [arm.label]
        for values in (arm.accuracy, arm.site_mean):
            chosen = values[:, : len(reference)]
            cells += [f"{chosen.mean():.4f}", _spread(chosen)]
        for epsilon in (arm.epsilon, arm.epsilon_alone):
            cells.append("-" if epsilon is None else f"{epsilon:.4f}")
        rows.append(cells)
    columns = ("model", "all test patients", "sd", "mean of sites", "sd")
    return table(title, (*columns, "epsilon", "epsilon_alone"), rows)


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.std(ddof=1):.4f}" if values.size > 1 else "-"


if __name__ == "__main__":
    show(measure(Settings()), Console())
