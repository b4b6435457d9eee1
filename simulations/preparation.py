"""What a run needs before it may begin: its study, its hospitals and a plan for every arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.common.study.evaluation_groups import evaluation_groups
from fedward.simulations.arms import Arm, changed
from fedward.simulations.experiment import checked_arms, data_digest
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.request import SimulationRequest
from fedward.simulations.run_folder import ExperimentSettings, check_new_run

DEFAULT_STUDY = "breast_cancer"
DEFAULT_SITES = 4
DEFAULT_SEEDS = 5
DEFAULT_RUNS = Path("runs")
DEFAULT_EPSILONS = (0.5, 1.0, 3.0, 8.0)
PARTITION_SEED = 0
"""Hospitals made from embedded data are the same for every seed of the experiment."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that may begin."""

    settings: ExperimentSettings
    hospitals: Hospitals
    arms: Sequence[Arm]


def prepare(request: SimulationRequest) -> Prepared:
    """Check everything that a new run needs; writes nothing.

    Raises:
        InputError: the study, the data or an option cannot be used.
        PrivacyRefusal: no noise meets one of the epsilons.
    """
    loaded, source = _load(request.study or DEFAULT_STUDY)
    sites = request.sites
    if request.data is None and sites is None:
        sites = DEFAULT_SITES
    study, hospitals = _hospitals(loaded, source, request.data, sites)
    _check_delta(study, hospitals, source=source)
    evaluation_groups(study, [hospital.name for hospital in hospitals.sites])
    epsilons = tuple(sorted({*(request.epsilons or DEFAULT_EPSILONS), study.privacy.epsilon}))
    if request.name is not None:
        check_new_run(request.runs or DEFAULT_RUNS, request.name)
    arms = checked_arms(study, epsilons=epsilons, sites=len(hospitals.sites))
    settings = ExperimentSettings(
        study=study,
        study_source=str(source.resolve()),
        data_folder=None if request.data is None else str(request.data.resolve()),
        sites=sites,
        data_digest=data_digest(hospitals),
        epsilons=epsilons,
        seeds=tuple(range(request.seeds or DEFAULT_SEEDS)),
        insecure_noise_seed=request.insecure_noise_seed,
        command=request.command,
        started=request.now.isoformat(timespec="seconds"),
        notes=_size_notes(loaded, study, hospitals),
        masked=not request.no_masks,
        drop_out=request.drop_out or 0.0,
        transcript=request.transcript,
    )
    return Prepared(settings=settings, hospitals=hospitals, arms=arms)


def prepare_again(request: SimulationRequest, settings: ExperimentSettings) -> Prepared:
    """Read the hospitals of an interrupted run again.

    Raises:
        InputError: the data cannot be read, or are not those that the run began with.
    """
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
    return Prepared(settings=settings, hospitals=hospitals, arms=arms)


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
        hospitals = folder_hospitals(study, data, study_path=source)
        _check_held_out(hospitals, source=data)
        return study, hospitals
    count = DEFAULT_SITES if sites is None else sites
    hospitals = breast_cancer_hospitals(study, sites=count, seed=PARTITION_SEED)
    return _sized_for(study, hospitals), hospitals


def _sized_for(study: Study, hospitals: Hospitals) -> Study:
    """Declare the simulated size, where it is far from the study's, and a delta below 1/(10 n)."""
    expected = _training_patients(study, hospitals)
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


def _training_patients(study: Study, hospitals: Hospitals) -> int:
    patients = sum(hospital.cohort.patient_count for hospital in hospitals.sites)
    return max(2, round(patients * (1 - study.evaluation.holdout)))


def _check_delta(study: Study, hospitals: Hospitals, *, source: Path) -> None:
    """Hold the declared delta against the true size, which only a simulation knows."""
    patients = _training_patients(study, hospitals)
    if study.privacy.delta >= 1 / patients:
        raise InputError(
            source=str(source),
            field="privacy.delta",
            problem=f"is {study.privacy.delta:g}, which is not below 1/n = {1 / patients:.3g} for "
            f"the {patients} training patients that the data hold",
            fix="lower it, or give more patients",
        )


def _size_notes(loaded: Study, study: Study, hospitals: Hospitals) -> tuple[str, ...]:
    """Say where the study's declared size is not the simulation's."""
    patients = _training_patients(study, hospitals)
    if study != loaded:
        return (
            f"The study declares {loaded.cohort.expected_patients} training patients and delta "
            f"{loaded.privacy.delta:g}; this run simulates {patients}, and declares "
            f"{study.cohort.expected_patients} and delta {study.privacy.delta:g} instead.",
        )
    times = patients / study.cohort.expected_patients
    if 0.5 <= times <= 2:
        return ()
    return (
        f"The study declares {study.cohort.expected_patients} training patients, and the data hold "
        f"{patients}: steps divide by the declared number, so they are {times:.2g} times as long "
        "as meant. Change cohort.expected_patients in the study.",
    )


def _check_held_out(hospitals: Hospitals, *, source: Path) -> None:
    if all(hospital.cohort.patient_count < 2 for hospital in hospitals.sites):
        raise InputError(
            source=str(source),
            field="",
            problem="has no hospital of two patients or more, so nobody can be held out",
            fix="give it more patients",
        )
