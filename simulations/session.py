"""One call of ``fedward simulate``: check everything, then run, then show and write the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from fedward.common.errors import InputError, Interrupted
from fedward.common.study.definition import Study
from fedward.simulations.arms import Arm, changed
from fedward.simulations.experiment import checked_arms, data_digest, run_experiment
from fedward.simulations.federation import Engine
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.progress_bar import progress_bar
from fedward.simulations.results import ExperimentResult
from fedward.simulations.run_folder import ExperimentSettings, RunFolder, check_new_run

DEFAULT_STUDY = "breast_cancer"
DEFAULT_SITES = 4
DEFAULT_SEEDS = 5
DEFAULT_RUNS = Path("runs")
DEFAULT_EPSILONS = (0.5, 1.0, 3.0, 8.0)
PARTITION_SEED = 0
"""Hospitals made from embedded data are the same for every seed of the experiment."""
NOTES = (
    "Evaluation was computed in the simulation, in the clear, on held-out patients of every "
    "hospital; it is not charged. A real coordinator has no such view.",
    "Releases were noised but not masked: with masks a coordinator sees sums over hospitals only; "
    "without them what it sees of one hospital is protected by epsilon_alone.",
    "Choosing settings by looking at results of private runs costs privacy too; it is not charged "
    "here.",
    "Epsilons add up: whoever sees several rows or seeds over the same patients, as in this "
    "report, holds more than any one row's epsilon allows.",
    'The row "each hospital alone" is the mean over hospitals of their own models, judged on all '
    "held-out patients; its worst site is the worst own model on its own patients.",
)


@dataclass(frozen=True, kw_only=True)
class SimulationRequest:
    """The command line of ``fedward simulate``, parsed."""

    study: str | None
    data: Path | None
    sites: int | None
    epsilons: tuple[float, ...] | None
    seeds: int | None
    engine: str
    ray_address: str | None
    runs: Path | None
    name: str | None
    resume: Path | None
    insecure_noise_seed: int | None
    command: str
    now: datetime


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    settings: ExperimentSettings
    hospitals: Hospitals
    arms: Sequence[Arm]


def simulate_study(request: SimulationRequest, console: Console) -> ExperimentResult:
    """Run or resume an experiment; prints the table and writes the report.

    Raises:
        InputError: anything wrong with the study, the data or the options; nothing was written.
        PrivacyRefusal: an epsilon that no noise meets; nothing was written.
        Interrupted: stopped by the user; the folder can be resumed.
    """
    from fedward.simulations.report.page import write_report
    from fedward.simulations.report.table import print_table

    _limit_threads()
    folder: RunFolder | None = None
    if request.resume is not None:
        folder, settings = RunFolder.open(request.resume)
        prepared = _prepared_again(request, settings)
    else:
        prepared = _prepared_new(request, console)
    engine = _engine(request)
    if folder is None:
        name = request.name or _fresh_name(prepared.settings.study, request)
        folder = RunFolder.create(request.runs or DEFAULT_RUNS, name, prepared.settings)
    try:
        result = _run(prepared, engine, folder, console)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped. What is done is kept; continue with: fedward simulate --resume {folder.path}"
        ) from None
    finally:
        engine.close()
    report = write_report(result, folder.path)
    print_table(result, console)
    console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    return result


def _prepared_new(request: SimulationRequest, console: Console) -> _Prepared:
    study, source = _load(request.study or DEFAULT_STUDY)
    sites = request.sites
    if request.data is None and sites is None:
        sites = DEFAULT_SITES
    study, hospitals = _hospitals(study, source, request.data, sites)
    epsilons = tuple(sorted({*(request.epsilons or DEFAULT_EPSILONS), study.privacy.epsilon}))
    _check_epsilons(epsilons)
    if request.name is not None:
        check_new_run(request.runs or DEFAULT_RUNS, request.name)
    with console.status("Calibrating the noise of every arm"):
        arms = checked_arms(study, epsilons=epsilons, sites=len(hospitals.sites))
    settings = ExperimentSettings(
        study=study,
        study_source=str(source),
        data_folder=None if request.data is None else str(request.data.resolve()),
        sites=sites,
        data_digest=data_digest(hospitals),
        epsilons=epsilons,
        seeds=tuple(range(request.seeds or DEFAULT_SEEDS)),
        insecure_noise_seed=request.insecure_noise_seed,
        command=request.command,
        started=request.now.isoformat(timespec="seconds"),
    )
    return _Prepared(settings=settings, hospitals=hospitals, arms=arms)


def _prepared_again(request: SimulationRequest, settings: ExperimentSettings) -> _Prepared:
    for option, value in (
        ("STUDY", request.study),
        ("--data", request.data),
        ("--sites", request.sites),
        ("--epsilon", request.epsilons),
        ("--seeds", request.seeds),
        ("--runs", request.runs),
        ("--name", request.name),
        ("--insecure-noise-seed", request.insecure_noise_seed),
    ):
        if value is not None:
            raise InputError(
                source="--resume",
                field=option,
                problem="was given, but a resumed run keeps its own",
                fix="leave it out",
            )
    data = None if settings.data_folder is None else Path(settings.data_folder)
    _, hospitals = _hospitals(settings.study, Path(settings.study_source), data, settings.sites)
    if data_digest(hospitals) != settings.data_digest:
        raise InputError(
            source=str(request.resume),
            field="",
            problem="was begun on other data than are there now",
            fix="restore the data, or start a new run",
        )
    arms = checked_arms(settings.study, epsilons=settings.epsilons, sites=len(hospitals.sites))
    return _Prepared(settings=settings, hospitals=hospitals, arms=arms)


def _run(
    prepared: _Prepared, engine: Engine, folder: RunFolder, console: Console
) -> ExperimentResult:
    settings, sites = prepared.settings, len(prepared.hospitals.sites)
    rounds = {
        arm.key: arm.study.training.rounds * (sites if arm.grouping == "alone" else 1)
        for arm in prepared.arms
    }
    done = sum(
        rounds[arm.key]
        for arm in prepared.arms
        for seed in settings.seeds
        if folder.finished(arm.key, seed)
    )
    total = sum(rounds.values()) * len(settings.seeds)
    with progress_bar(console, total_rounds=total, done_rounds=done) as on_progress:
        return run_experiment(
            settings,
            prepared.hospitals,
            prepared.arms,
            engine=engine,
            folder=folder,
            notes=NOTES,
            on_progress=on_progress,
        )


def _load(name_or_path: str) -> tuple[Study, Path]:
    from fedward.common.study.loading import find_study, load_study

    path = find_study(name_or_path)
    return load_study(path), path


def _hospitals(
    study: Study, source: Path, data: Path | None, sites: int | None
) -> tuple[Study, Hospitals]:
    """Make or read the hospitals; generated ones also set the study's declared size."""
    from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals
    from fedward.simulations.hospitals.folder import folder_hospitals

    if data is not None:
        if sites is not None:
            raise InputError(
                source="--sites",
                field=str(sites),
                problem="goes with the built-in data, and --data was given too",
                fix="leave one of them out",
            )
        return study, folder_hospitals(study, data, study_path=source)
    hospitals = breast_cancer_hospitals(study, sites=sites or DEFAULT_SITES, seed=PARTITION_SEED)
    return _sized_for(study, hospitals), hospitals


def _sized_for(study: Study, hospitals: Hospitals) -> Study:
    """Declare the simulated size, where it is far from the study's, and a delta below 1/(10 n)."""
    patients = sum(hospital.cohort.patient_count for hospital in hospitals.sites)
    expected = round(patients * (1 - study.evaluation.holdout))
    if 0.5 <= expected / study.cohort.expected_patients <= 2:
        return study
    largest_delta = 1 / (20 * expected)
    return changed(
        study,
        {
            "cohort": {"expected_patients": expected},
            "privacy": {"delta": min(study.privacy.delta, largest_delta)},
        },
    )


def _check_epsilons(epsilons: Sequence[float]) -> None:
    for value in epsilons:
        if not (math.isfinite(value) and 0 < value <= 50):
            raise InputError(
                source="--epsilon",
                field=f"{value:g}",
                problem="is not above 0 and at most 50",
                fix="choose one such as 1.0",
            )


def _fresh_name(study: Study, request: SimulationRequest) -> str:
    return f"{study.about.name}-{request.now:%Y%m%d-%H%M%S}"


def _engine(request: SimulationRequest) -> Engine:
    from fedward.simulations.engines.flower_engine import FlowerEngine
    from fedward.simulations.engines.in_process_engine import InProcessEngine
    from fedward.simulations.engines.ray_engine import RayEngine

    if request.ray_address is not None and request.engine != "ray":
        raise InputError(
            source="--ray-address",
            field=request.ray_address,
            problem=f"does not go with --engine {request.engine}",
            fix="add --engine ray",
        )
    if request.engine == "ray":
        return RayEngine(address=request.ray_address)
    return FlowerEngine() if request.engine == "flower" else InProcessEngine()


def _limit_threads() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    # Models of this size lose more to thread hand-over than they gain.
    torch.set_num_threads(1)
    threadpool_limits(1)
