"""Wall time of one study on the in-process grid, on Ray actors and under Flower's own engine.

    python benchmarks/run.py engines

Each engine gets a fresh process with the libraries imported. ``first`` is the first simulation
in it, in which the study's noise is calibrated and cross-checked; ``next`` is another one right
after it, engine start-up included, with that plan known to the calling process, as `fedward
simulate` knows it before any engine starts. What an engine's own processes have to import and
calibrate again is part of what it costs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from findings import Findings, Target, at_least, at_most, show, table
from pipeline import trained
from rich.console import Console
from workers import Settings, in_fresh_process

from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import changed
from fedward.simulations.engines.flower_engine import FlowerEngine
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.engines.ray_engine import RayEngine
from fedward.simulations.federation import Engine
from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals

FLOWER_RATIO_TARGET = 20.0
MANY_SITES_SECONDS_TARGET = 60.0
FEW_SITES = 4
FEW_ROUNDS = 20
MANY_SITES = 500
MANY_ROUNDS = 10
NOISE_SEED = 0
"""Noise is seeded here, and here only, so that the engines' models can be compared."""

ENGINES: dict[str, type[Engine]] = {
    "in-process": InProcessEngine,
    "ray": RayEngine,
    "flower": FlowerEngine,
}


@dataclass(frozen=True, kw_only=True)
class EngineTask:
    """One engine's simulations: one first, and ``again`` more."""

    engine: str
    sites: int
    rounds: int
    again: int


@dataclass(frozen=True, kw_only=True)
class EngineRow:
    """Wall times in seconds, and SHA-256 of the model; ``next`` is the median of the later runs."""

    engine: str
    sites: int
    rounds: int
    first: float
    next: float | None
    model: str


def measure(settings: Settings) -> Findings:
    """Time 4 sites x 20 rounds on all engines, and 500 sites x 10 rounds in process."""
    few = {"sites": FEW_SITES, "rounds": FEW_ROUNDS}
    tasks = [EngineTask(engine="in-process", **few, again=5)]
    lacking = []
    if importlib.util.find_spec("ray") is None:
        lacking.append("Ray is not installed, which the engines `ray` and `flower` need")
    else:
        tasks += [EngineTask(engine=name, **few, again=1) for name in ("ray", "flower")]
    tasks.append(EngineTask(engine="in-process", sites=MANY_SITES, rounds=MANY_ROUNDS, again=0))
    rows = []
    for done, task in enumerate(tasks, start=1):
        rows.append(in_fresh_process(timed, task))
        settings.watch(done, len(tasks))
    return findings_of(rows, lacking=lacking)


def findings_of(rows: Sequence[EngineRow], *, lacking: Sequence[str] = ()) -> Findings:
    """Compare the engines and judge the targets."""
    few = {row.engine: row for row in rows if row.sites == FEW_SITES}
    digests = {row.model for row in few.values()}
    notes = []
    if len(few) > 1:
        same = "the same" if len(digests) == 1 else "NOT the same"
        notes.append(
            f"Under one noise seed, {', '.join(few)} give {same} model to the last bit "
            f"(SHA-256 {', '.join(sorted(digest[:16] for digest in digests))})."
        )
    notes.append(
        "In process, nearly all of the first simulation is the calibration of the study's noise "
        "and its cross-check by three accountants, once for a study, whatever the engine."
    )
    return Findings(
        title="Engines: a whole simulation",
        about=(
            "Wall time of one simulation of the shipped breast-cancer study, from hospitals in "
            "memory to the trained model, engine start and end included. Each engine runs in a "
            "fresh process: `first` includes the calibration of the noise, `next` does not."
        ),
        tables=(
            table(
                "Seconds",
                ("engine", "sites", "rounds", "first", "next", "times in-process (next)"),
                [_cells(row, few["in-process"]) for row in rows],
            ),
        ),
        targets=tuple(_targets(rows, few, agree=len(digests) == 1)),
        notes=tuple(notes),
        not_measured=tuple(lacking),
        figures={"rows": [vars(row) for row in rows]},
    )


def timed(task: EngineTask) -> EngineRow:
    """Run one engine's simulations in this process."""
    study = study_of(sites=task.sites, rounds=task.rounds)
    hospitals = breast_cancer_hospitals(study, sites=task.sites, seed=0)
    cohorts = {hospital.name: hospital.cohort for hospital in hospitals.sites}
    times, models = [], set()
    for _ in range(1 + task.again):
        started = time.perf_counter()
        engine = ENGINES[task.engine]()
        run = trained(study, cohorts, private=True, engine=engine, insecure_noise_seed=NOISE_SEED)
        engine.close()
        times.append(time.perf_counter() - started)
        models.add(hashlib.sha256(run.state.model_parameters.tobytes()).hexdigest())
    if len(models) != 1:
        raise RuntimeError(f"{task.engine} gave {len(models)} models under one noise seed")
    return EngineRow(
        engine=task.engine,
        sites=task.sites,
        rounds=task.rounds,
        first=times[0],
        next=statistics.median(times[1:]) if task.again else None,
        model=models.pop(),
    )


def study_of(*, sites: int, rounds: int) -> Study:
    """The shipped study with so many rounds; many sites have more patients and a smaller delta."""
    study = load_study(find_study("breast_cancer"))
    training = study.training.model_dump() | {"rounds": rounds, "average_last": 1}
    changes = {"training": training}
    if sites > FEW_SITES:
        changes |= {"cohort": {"expected_patients": 100 * sites}, "privacy": {"delta": 1e-6}}
    return changed(study, changes)


def _targets(rows: Sequence[EngineRow], few: dict[str, EngineRow], *, agree: bool) -> list[Target]:
    targets = []
    mine, flowers = few["in-process"], few.get("flower")
    if flowers and flowers.next and mine.next:
        what = f"{FEW_SITES} sites x {FEW_ROUNDS} rounds: Flower's run_simulation over in-process"
        for label, ratio in (
            ("first", flowers.first / mine.first),
            ("next", flowers.next / mine.next),
        ):
            targets.append(at_least(f"{what}, {label}", ratio, FLOWER_RATIO_TARGET, decimals=1))
    if len(few) > 1:
        targets.append(at_least("engines that give the same model (1: all)", float(agree), 1.0))
    for row in rows:
        if row.sites == MANY_SITES:
            what = f"{row.sites} sites x {row.rounds} rounds in process, seconds, first"
            targets.append(at_most(what, row.first, MANY_SITES_SECONDS_TARGET, decimals=1))
    return targets


def _cells(row: EngineRow, reference: EngineRow) -> list[str]:
    later, ratio = "-", "-"
    if row.next is not None:
        later = f"{row.next:.3f}"
        if reference.next is not None and row.sites == reference.sites:
            ratio = f"{row.next / reference.next:.1f}"
    return [row.engine, str(row.sites), str(row.rounds), f"{row.first:.3f}", later, ratio]


if __name__ == "__main__":
    show(measure(Settings()), Console())
