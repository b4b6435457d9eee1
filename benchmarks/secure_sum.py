"""Secure sums: what they cost sites and coordinator, beside Flower's SecAgg+, and what they lose.

    python benchmarks/run.py secure_sum

Times are those of one thread in fresh processes. Whole rounds run over the in-process grid, ours
and Flower's alike, with training that takes no time on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

from breast_cancer import FOLDS
from breast_cancer import SEEDS as BREAST_CANCER_SEEDS
from findings import Findings, show
from flower_secagg import ALL_SHARES, SecAggTask, limited_secagg_rounds
from rich.console import Console
from secure_sum_accuracy import Comparison, Data, Pair, PairTask, comparison, run_pair
from secure_sum_costs import AddingTask, SiteTask, adding_cost, site_cost
from secure_sum_exactness import ExactnessTask, exactness
from secure_sum_findings import findings_of
from secure_sum_results import Cell, ManySites, Measurements
from secure_sum_rounds import RoundsTask, our_rounds
from workers import Settings, in_fresh_process, mapped

SITE_TASKS = tuple(SiteTask(sites=sites, length=10**6, repeats=15) for sites in (4, 16, 64))
ADDING_TASKS = tuple(AddingTask(sites=sites, length=10**6, repeats=7) for sites in (4, 64))
MEMORY_SITES = (4, 64)
MEMORY_TASKS = tuple(
    RoundsTask(sites=sites, parameters=10**6, rounds=1, traced=True) for sites in MEMORY_SITES
)
EXACTNESS_TASK = ExactnessTask(sites=12, longest=2000, sums=5000)
MANY_SITES = RoundsTask(sites=200, parameters=10**5, rounds=2, insecure_noise_seed=0)

SITES = (4, 16, 64)
PARAMETERS = (10**4, 10**6)
FEW_SHARES = 3
"""Of Flower's own example: each client has masks with two others, however many there are."""
SHARES = (ALL_SHARES, FEW_SHARES)
ROUNDS = 3
SLOW_ROUNDS = 2
"""Of SecAgg+ where all of 64 clients share their secrets, which takes minutes."""

HEART_DISEASE_DRAWS = {(1.0, 1): 40, (1.0, 0): 10, (3.0, 1): 10}
"""By epsilon and how many sites may cheat without weakening it: one, as shipped, or none."""
HEART_DISEASE_SPLITS = 25
BREAST_CANCER_DRAWS = 10

T = TypeVar("T")
R = TypeVar("R")


def measure(settings: Settings) -> Findings:
    """Measure times first, one process at a time; then the accuracy, in parallel."""
    secagg_tasks = [
        SecAggTask(sites=sites, parameters=parameters, shares=shares, rounds=_rounds(sites, shares))
        for sites, parameters, shares in product(SITES, PARAMETERS, SHARES)
        if shares < sites
    ]
    our_tasks = [
        RoundsTask(sites=sites, parameters=parameters, rounds=ROUNDS)
        for sites, parameters in product(SITES, PARAMETERS)
    ]
    pair_tasks = _pair_tasks(settings)
    times = len(SITE_TASKS) + len(ADDING_TASKS) + len(MEMORY_TASKS) + 3
    total = times + len(secagg_tasks) + len(our_tasks) + len(pair_tasks)
    progress = _Progress(settings, total=total)
    sites = progress.each(site_cost, SITE_TASKS)
    adding = progress.each(adding_cost, ADDING_TASKS)
    memory = dict(zip(MEMORY_SITES, progress.each(our_rounds, MEMORY_TASKS), strict=True))
    masked, bare = progress.each(our_rounds, (MANY_SITES, replace(MANY_SITES, masked=False)))
    ours = dict(zip(our_tasks, progress.each(our_rounds, our_tasks), strict=True))
    theirs = progress.each(limited_secagg_rounds, secagg_tasks)
    exact = progress.each(exactness, (EXACTNESS_TASK,))[0]
    accuracy, lacking = _accuracy(pair_tasks, progress)
    return findings_of(
        Measurements(
            sites=sites,
            adding=adding,
            memory=memory,
            many=ManySites(
                sites=MANY_SITES.sites, parameters=MANY_SITES.parameters, masked=masked, bare=bare
            ),
            cells=[
                Cell(
                    task=task,
                    secagg=rounds,
                    ours=ours[replace(our_tasks[0], sites=task.sites, parameters=task.parameters)],
                )
                for task, rounds in zip(secagg_tasks, theirs, strict=True)
            ],
            exact=exact,
            accuracy=accuracy,
            lacking=lacking,
        )
    )


def _rounds(sites: int, shares: int | float) -> int:
    return SLOW_ROUNDS if sites == max(SITES) and shares == ALL_SHARES else ROUNDS


def _pair_tasks(settings: Settings) -> list[PairTask]:
    """All splits on all terms; without its files none of heart disease."""
    tasks = [
        PairTask(
            data="breast_cancer",
            epsilon=epsilon,
            colluding=colluding,
            seed=seed,
            fold=fold,
            draws=BREAST_CANCER_DRAWS,
        )
        for epsilon, colluding in HEART_DISEASE_DRAWS
        for seed, fold in product(BREAST_CANCER_SEEDS, range(FOLDS))
    ]
    if settings.heart_disease.is_dir():
        tasks += [
            PairTask(
                data="heart_disease",
                epsilon=epsilon,
                colluding=colluding,
                seed=seed,
                draws=draws,
                folder=settings.heart_disease,
            )
            for (epsilon, colluding), draws in HEART_DISEASE_DRAWS.items()
            for seed in range(HEART_DISEASE_SPLITS)
        ]
    return tasks


def _accuracy(
    tasks: Sequence[PairTask], progress: _Progress
) -> tuple[list[Comparison], tuple[str, ...]]:
    pairs = progress.parallel(run_pair, tasks)
    groups: dict[tuple[Data, float, int], list[Pair]] = {}
    for task, pair in zip(tasks, pairs, strict=True):
        groups.setdefault((task.data, task.epsilon, task.colluding), []).append(pair)
    found = [
        comparison(group, data=data, epsilon=epsilon, colluding=colluding)
        for (data, epsilon, colluding), group in groups.items()
    ]
    if any(data == "heart_disease" for data, *_ in groups):
        return found, ()
    return found, ("heart disease: the four UCI files are not there; see the benchmark of it",)


class _Progress:
    """Runs the parts one after the other and says how many are done."""

    def __init__(self, settings: Settings, *, total: int) -> None:
        self._settings = settings
        self._total = total
        self._done = 0

    def each(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """Each task in a fresh process that has the machine to itself."""
        results = []
        for task in tasks:
            results.append(in_fresh_process(function, task))
            self._done += 1
            self._settings.watch(self._done, self._total)
        return results

    def parallel(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """All tasks in a pool of processes."""
        before = self._done

        def watch(done: int, _: int) -> None:
            self._settings.watch(before + done, self._total)

        results = mapped(function, tasks, replace(self._settings, watch=watch))
        self._done += len(tasks)
        return results


if __name__ == "__main__":
    show(measure(Settings()), Console())
