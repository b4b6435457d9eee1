"""An experiment: every arm at every seed, from its settings to the result that a report shows."""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version

from fedward.common.errors import PrivacyRefusal
from fedward.common.study.definition import Study
from fedward.common.study.description import describe_model, describe_training
from fedward.server.errors import CoordinationError
from fedward.simulations.arms import Arm, arms_of, full_name
from fedward.simulations.books import BOOKS_NAME, why_no_books
from fedward.simulations.conditions import Conditions
from fedward.simulations.federation import Engine
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.results import ArmResult, ExperimentResult, SiteSummary
from fedward.simulations.run_folder import ExperimentSettings, FinishedSeed, RunFolder
from fedward.simulations.seed_run import OnProgress, run_seed
from fedward.simulations.summaries import build_arm
from fedward.simulations.traffic import mean_traffic
from fedward.simulations.trainings import SplitHospitals, plan_of

LIBRARIES = ("fedward", "flwr", "torch", "opacus", "dp-accounting", "numpy", "scikit-learn")


def data_digest(hospitals: Hospitals) -> str:
    """SHA-256 over every hospital's name, rows and outcomes."""
    digest = hashlib.sha256()
    for hospital in hospitals.sites:
        digest.update(f"{hospital.name}:{hospital.cohort.features.shape}".encode())
        for array in (hospital.cohort.features, hospital.cohort.target, hospital.cohort.offsets):
            digest.update(array.tobytes())
    return digest.hexdigest()


def checked_arms(study: Study, *, epsilons: Sequence[float], sites: int) -> tuple[Arm, ...]:
    """All arms, each with a plan that meets its epsilon; raises before anything is run.

    Raises:
        PrivacyRefusal: no noise meets one of the epsilons, or the accountants disagree.
    """
    arms = arms_of(study, epsilons=epsilons)
    for arm in arms:
        if arm.protected:
            try:
                plan_of(arm, sites=sites)
            except PrivacyRefusal as refusal:
                raise PrivacyRefusal(
                    f"{arm.label} at --epsilon {arm.target_epsilon:g}: {refusal}"
                ) from refusal
    return arms


def recorded_arm(arms: Sequence[Arm], study: Study) -> Arm | None:
    """The arm of transcript and books, if any: the study as it is, run by its hospitals."""
    asked = [arm for arm in arms if arm.target_epsilon == study.privacy.epsilon]
    wanted = ("federated_distributed", "federated_local")
    return min(
        (arm for arm in asked if arm.kind in wanted),
        key=lambda arm: wanted.index(arm.kind),
        default=None,
    )


def run_experiment(
    settings: ExperimentSettings,
    hospitals: Hospitals,
    arms: Sequence[Arm],
    *,
    engine: Engine,
    folder: RunFolder,
    notes: Sequence[str],
    on_progress: OnProgress,
) -> ExperimentResult:
    """Run every arm at every seed; what the folder holds already is read back.

    Where hospitals are made to fail, a seed may come to no end; a note says why, and it is missing
    in its arm. An arm without any seed is left out.

    Raises:
        CoordinationError: a training came to no end though no hospital was made to fail.
    """
    started = time.perf_counter()
    study = settings.study
    splits = {seed: SplitHospitals.of(hospitals, study, seed=seed) for seed in settings.seeds}
    finished: dict[str, list[FinishedSeed]] = {arm.key: [] for arm in arms}
    said: list[tuple[Arm, str, int]] = []
    conditions = Conditions(
        insecure_noise_seed=settings.insecure_noise_seed,
        masked=settings.masked,
        drop_out=settings.drop_out,
    )
    first = recorded_arm(arms, study), settings.seeds[0]
    has_books = why_no_books(engine.name, sites=len(hospitals.sites)) is None
    for arm in arms:
        for seed, split in splits.items():
            done = folder.finished(arm.key, seed)
            if done is None:
                is_first = first == (arm, seed)
                if is_first and not has_books:
                    # Begun under another engine; what is trained from here on is not in them.
                    shutil.rmtree(folder.path / BOOKS_NAME, ignore_errors=True)
                try:
                    done = run_seed(
                        arm,
                        split,
                        seed=seed,
                        engine=engine,
                        folder=folder,
                        conditions=conditions,
                        on_progress=on_progress,
                        recorded=settings.transcript and is_first,
                        booked=has_books and is_first,
                    )
                except CoordinationError as error:
                    if not settings.drop_out:
                        raise
                    said.append((arm, f"There is no model: {error}.", seed))
                    continue
                folder.finish(arm.key, seed, done)
            finished[arm.key].append(done)
            said.extend((arm, note, seed) for note in done.notes)
    return ExperimentResult(
        study_name=study.about.name,
        study_title=study.about.title,
        study_digest=study.digest,
        data_description=hospitals.description,
        engine=engine.name,
        seeds=list(settings.seeds),
        sites=_site_summaries(splits[settings.seeds[0]]),
        arms=[_summarised(arm, finished[arm.key]) for arm in arms if finished[arm.key]],
        privacy_unit=study.cohort.privacy_unit,
        delta=study.privacy.delta,
        clip=study.privacy.clip,
        colluding=study.privacy.colluding,
        insecure_noise_seed=settings.insecure_noise_seed,
        notes=[*notes, *_notes(said)],
        versions={"python": platform.python_version()}
        | {library: version(library) for library in LIBRARIES},
        command=settings.command,
        started=settings.started,
        seconds=time.perf_counter() - started,
        masked=settings.masked
        and all(
            seed.masked
            for arm in arms
            if arm.protected and arm.grouping == "federated"
            for seed in finished[arm.key]
        ),
        drop_out=settings.drop_out,
        threshold=study.evaluation.threshold,
        training_description=_sentence(f"{describe_model(study)}, {describe_training(study)}"),
    )


def _summarised(arm: Arm, finished: Sequence[FinishedSeed]) -> ArmResult:
    epsilons = [seed.epsilon for seed in finished if seed.epsilon is not None]
    alone = [seed.epsilon_alone for seed in finished if seed.epsilon_alone is not None]
    worst = max(finished, key=lambda seed: seed.epsilon or 0.0)
    return build_arm(
        kind=arm.kind,
        label=arm.label,
        seeds=[seed.result for seed in finished],
        rounds=[seed.rounds for seed in finished],
        predictions=[seed.predictions for seed in finished],
        bins=arm.study.evaluation.calibration_bins,
        target_epsilon=arm.target_epsilon,
        epsilon=max(epsilons, default=None),
        epsilon_alone=max(alone, default=None),
        delta=arm.study.privacy.delta if arm.protected else None,
        cross_check=worst.cross_check,
        traffic=mean_traffic(seed.traffic for seed in finished),
        charged=[seed.charged for seed in finished if seed.charged is not None],
    )


def _notes(said: Sequence[tuple[Arm, str, int]]) -> list[str]:
    """What was said of single seeds, each sentence once for each arm."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for arm, note, seed in said:
        seeds.setdefault((full_name(arm), note), []).append(seed)
    return [
        f"{name}, seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}: {note}"
        for (name, note), found in seeds.items()
    ]


def _site_summaries(split: SplitHospitals) -> list[SiteSummary]:
    return [
        SiteSummary(
            name=name,
            training_patients=cohort.patient_count,
            held_out_patients=split.held_out[name].patient_count,
            training_positive_share=float(cohort.target.mean()),
        )
        for name, cohort in split.training.items()
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
