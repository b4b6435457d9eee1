"""One call of ``fedward simulate``: check everything, then run, then show and write the result."""

from __future__ import annotations

import shlex

from rich.console import Console

from fedward.common.errors import Interrupted
from fedward.common.study.definition import Study
from fedward.simulations.arms import full_name
from fedward.simulations.books import BOOKS_NAME, LOG_NAME, why_no_books
from fedward.simulations.experiment import recorded_arm, run_experiment
from fedward.simulations.federation import Engine
from fedward.simulations.preparation import DEFAULT_RUNS, Prepared, prepare, prepare_again
from fedward.simulations.progress_bar import progress_bar
from fedward.simulations.request import SimulationRequest, check_request
from fedward.simulations.results import ExperimentResult
from fedward.simulations.run_folder import ExperimentSettings, RunFolder
from fedward.simulations.threads import limit_threads
from fedward.simulations.transcript import TRANSCRIPT_NAME, read_transcript

NOTES = (
    "The figures of the tables and curves were computed in the simulation, in the clear, on "
    "held-out patients of every hospital; they are not charged. A real coordinator has no such "
    "view: it has what it measured at a charge, which is shown by itself.",
    "Choosing settings by looking at results of private runs costs privacy too; it is not charged "
    "here.",
    "Epsilons add up: whoever sees several rows or seeds over the same patients, as in this "
    "report, holds more than any one row's epsilon allows.",
    'The row "each hospital alone" is the mean over hospitals of their own models, judged on all '
    "held-out patients; its worst site is the worst own model on its own patients.",
)


def simulate_study(request: SimulationRequest, console: Console) -> ExperimentResult:
    """Run or resume an experiment; prints the table and writes the report.

    Raises:
        InputError: anything wrong with the study, the data or the options; nothing was written.
        PrivacyRefusal: an epsilon that no noise meets; nothing was written.
        Interrupted: stopped by the user; the folder can be resumed.
    """
    from fedward.simulations.report.page import write_report
    from fedward.simulations.report.table import print_table
    from fedward.simulations.report.transcript_table import transcript_table

    check_request(request)
    limit_threads()
    folder: RunFolder | None = None
    settings: ExperimentSettings | None = None
    if request.resume is not None:
        folder, settings = RunFolder.open(request.resume)
    with console.status("Reading the hospitals and calibrating the noise of every arm"):
        prepared = prepare(request) if settings is None else prepare_again(request, settings)
    engine = _engine(request)
    try:
        if folder is None:
            name = request.name or _fresh_name(prepared.settings.study, request)
            folder = RunFolder.create(request.runs or DEFAULT_RUNS, name, prepared.settings)
        result = _run(prepared, engine, folder, console)
    finally:
        engine.close()
    report = write_report(result, folder.path)
    print_table(result, console)
    transcript = folder.path / TRANSCRIPT_NAME
    if transcript.exists():
        console.print(transcript_table(read_transcript(transcript)))
        console.print(f"Transcript: {transcript}", highlight=False, soft_wrap=True)
    if (folder.path / BOOKS_NAME / LOG_NAME).exists():
        check = shlex.join(["fedward", "audit", "ledger", str(folder.path)])
        console.print(f"Books: {folder.path / BOOKS_NAME}", highlight=False, soft_wrap=True)
        console.print(f"Check them with: {check}", highlight=False, soft_wrap=True)
    console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    return result


def _run(
    prepared: Prepared, engine: Engine, folder: RunFolder, console: Console
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
    try:
        with progress_bar(console, total_rounds=total, done_rounds=done) as on_progress:
            return run_experiment(
                settings,
                prepared.hospitals,
                prepared.arms,
                engine=engine,
                folder=folder,
                notes=[
                    *NOTES,
                    *settings.notes,
                    *_transcript_note(prepared),
                    *_books_note(prepared, engine),
                ],
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        again = shlex.join(["fedward", "simulate", "--resume", str(folder.path)])
        raise Interrupted(f"Stopped. What is done is kept; continue with: {again}") from None


def _transcript_note(prepared: Prepared) -> list[str]:
    settings = prepared.settings
    arm = recorded_arm(prepared.arms, settings.study)
    if not settings.transcript or arm is None:
        return []
    return [
        f"Every message between coordinator and hospitals of the row {full_name(arm)}, seed "
        f"{settings.seeds[0]}, is in {TRANSCRIPT_NAME}, field by field."
    ]


def _books_note(prepared: Prepared, engine: Engine) -> list[str]:
    without = why_no_books(engine.name, sites=len(prepared.hospitals.sites))
    if without is not None:
        return [without]
    arm = recorded_arm(prepared.arms, prepared.settings.study)
    if arm is None:
        return []
    return [
        f"The hospitals' ledgers and the coordinator's signed log of the row {full_name(arm)}, "
        f"seed {prepared.settings.seeds[0]}, are in {BOOKS_NAME}, with all keys of that training; "
        "its seconds include writing them."
    ]


def _fresh_name(study: Study, request: SimulationRequest) -> str:
    return f"{study.about.name}-{request.now:%Y%m%d-%H%M%S}"


def _engine(request: SimulationRequest) -> Engine:
    from fedward.simulations.engines.flower_engine import FlowerEngine
    from fedward.simulations.engines.in_process_engine import InProcessEngine
    from fedward.simulations.engines.ray_engine import RayEngine

    if request.engine == "ray":
        return RayEngine(address=request.ray_address)
    return FlowerEngine() if request.engine == "flower" else InProcessEngine()
