"""One seed of one arm: train, evaluate on held-out patients, account for what was executed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedward.client.cohort import Cohort
from fedward.client.vault.gate import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.common.privacy.accounting import AccountedEpsilon, cross_checked_epsilon, epsilon_of
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.coordinator import CompletedRun, RunOptions
from fedward.server.training.state import TrainingState
from fedward.simulations.arms import Arm, changed
from fedward.simulations.evaluation import (
    Predictions,
    joined,
    metrics_by_site,
    predict_patients,
    round_point,
)
from fedward.simulations.federation import Engine, SimulatedSite, executed_events, train
from fedward.simulations.hospitals.holdout import concatenate, split_holdout
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.results import CrossCheck, Metrics, RoundPoint, SeedResult
from fedward.simulations.run_folder import FinishedSeed, RunFolder
from fedward.simulations.spending import spent_after
from fedward.simulations.summaries import mean_rounds, metrics_of
from fedward.simulations.unprotected import Unprotected

EVERYONE = "all"
"""Name of the one training of an arm whose hospitals train together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitHospitals:
    """All hospitals at one seed: training and held-out patients by site name."""

    training: Mapping[str, Cohort]
    held_out: Mapping[str, Cohort]

    @classmethod
    def of(cls, hospitals: Hospitals, study: Study, *, seed: int) -> SplitHospitals:
        """Split every hospital by patient."""
        splits = {
            hospital.name: split_holdout(
                hospital.cohort, holdout=study.evaluation.holdout, seed=seed, site=hospital.name
            )
            for hospital in hospitals.sites
        }
        return cls(
            training={name: split[0] for name, split in splits.items()},
            held_out={name: split[1] for name, split in splits.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a progress bar shows after each completed round."""

    arm: Arm
    seed: int
    round: int
    epsilon: float | None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Training:
    """One training of an arm: a federation of some hospitals, or of one."""

    part: str
    study: Study
    cohorts: Mapping[str, Cohort]
    plan: PrivacyPlan | None


def run_seed(
    arm: Arm,
    split: SplitHospitals,
    *,
    seed: int,
    engine: Engine,
    folder: RunFolder,
    insecure_noise_seed: int | None,
    on_progress: OnProgress,
) -> FinishedSeed:
    """Train and judge one seed; continues what the folder holds of it."""
    held_out = concatenate(list(split.held_out.values()))
    by_site: dict[str, Predictions] = {}
    on_everyone: list[Predictions] = []
    points: list[list[RoundPoint]] = []
    runs: list[CompletedRun] = []
    trainings = _trainings(arm, split)
    seconds = 0.0
    for training in trainings:
        checkpoints = folder.checkpoints(arm.key, seed, training.part)

        watching: list[float] = []

        def on_round(
            state: TrainingState,
            training: _Training = training,
            watching: list[float] = watching,
        ) -> None:
            began = time.perf_counter()
            spent = spent_after(training.plan, training.study, rounds=state.round)
            if state.round:
                point = round_point(state, training.study, held_out, epsilon=spent)
                folder.add_point(arm.key, seed, training.part, point)
            on_progress(Progress(arm=arm, seed=seed, round=state.round, epsilon=spent))
            watching.append(time.perf_counter() - began)

        started = time.perf_counter()
        run = train(
            training.study,
            _simulated_sites(arm, training, insecure_noise_seed=insecure_noise_seed),
            engine=engine,
            options=RunOptions(
                run_id=f"{arm.study.about.name}/{arm.key}/{seed}/{training.part}",
                expected_sites=len(training.cohorts),
                model_seed=seed,
            ),
            checkpoints=checkpoints,
            on_round=on_round,
        )
        # What the simulation looks at after each round is no part of training.
        seconds += time.perf_counter() - started - sum(watching)
        runs.append(run)
        points.append(folder.points(arm.key, seed, training.part))
        on_everyone.append(predict_patients(run.state, training.study, held_out))
        judged = split.held_out
        if training.part != EVERYONE:
            judged = {training.part: split.held_out[training.part]}
        for site, cohort in judged.items():
            if cohort.patient_count:
                by_site[site] = predict_patients(run.state, training.study, cohort)
    if arm.grouping != "alone":
        folder.keep_model(arm.key, seed, runs[0].state, arm.study)
    accounted = _accounted(trainings[0], runs[0]) if trainings[0].plan else None
    threshold = arm.study.evaluation.threshold
    overall = [metrics_of(p.target, p.probability, threshold=threshold) for p in on_everyone]
    pooled = joined(by_site)
    return FinishedSeed(
        result=SeedResult(
            seed=seed,
            overall=_mean_metrics(overall),
            by_site=metrics_by_site(by_site, arm.study),
            seconds=seconds,
            model_digest=_digest_of(runs),
        ),
        rounds=mean_rounds(points),
        target=pooled.target.tolist(),
        probability=pooled.probability.tolist(),
        epsilon=accounted[0].epsilon if accounted else None,
        epsilon_alone=accounted[1] if accounted else None,
        cross_check=_cross_check(accounted[0]) if accounted else None,
    )


def _trainings(arm: Arm, split: SplitHospitals) -> list[_Training]:
    """The federations that an arm trains, each under the study as it holds for it."""
    if arm.grouping == "alone":
        # A hospital on its own knows how many patients it has.
        return [
            _Training(
                part=site,
                study=changed(
                    arm.study, {"cohort": {"expected_patients": max(2, cohort.patient_count)}}
                ),
                cohorts={site: cohort},
                plan=None,
            )
            for site, cohort in split.training.items()
        ]
    cohorts = dict(split.training)
    if arm.grouping == "pooled":
        cohorts = {"pooled": concatenate(list(cohorts.values()))}
    return [
        _Training(
            part=EVERYONE,
            study=arm.study,
            cohorts=cohorts,
            plan=plan_of(arm, sites=len(cohorts)) if arm.protected else None,
        )
    ]


def plan_of(arm: Arm, *, sites: int) -> PrivacyPlan:
    """The calibrated plan of a protected arm; PrivacyRefusal where none exists."""
    return plan_for(
        arm.study,
        sites=1 if arm.grouping == "pooled" else sites,
        coordinates=Dimensions.of(arm.study).longest,
        pooled=arm.grouping == "pooled",
    )


def _simulated_sites(
    arm: Arm, training: _Training, *, insecure_noise_seed: int | None
) -> list[SimulatedSite]:
    largest = max(cohort.patient_count for cohort in training.cohorts.values())
    protection: Protection = Unprotected(largest_site=largest)
    if arm.protected:
        protection = PlannedProtection(pooled=arm.grouping == "pooled")
    return [
        SimulatedSite(
            name=name,
            cohort=cohort,
            study=training.study,
            protection=protection,
            policy=SitePolicy(),
            insecure_noise_seed=insecure_noise_seed,
        )
        for name, cohort in training.cohorts.items()
    ]


def _accounted(training: _Training, run: CompletedRun) -> tuple[AccountedEpsilon, float]:
    """Both epsilons of the executed events, each the worst over the sites."""
    if training.plan is None:
        raise ValueError("a training without privacy has no epsilon")
    delta = training.plan.accounting_delta
    both = [executed_events(run.records, site=site) for site in training.cohorts]
    checked = [cross_checked_epsilon(whole, delta=delta) for whole, _ in both]
    alone = [epsilon_of(own, delta=delta) for _, own in both]
    return max(checked, key=lambda found: found.epsilon), max(alone)


def _cross_check(accounted: AccountedEpsilon) -> CrossCheck:
    return CrossCheck(prv_low=accounted.prv_low, prv_high=accounted.prv_high, rdp=accounted.rdp)


def _mean_metrics(parts: Sequence[Metrics]) -> Metrics:
    """Figure by figure, the mean over models that were judged on the same patients."""
    if len(parts) == 1:
        return parts[0]
    means: dict[str, float | None] = {}
    for name in Metrics.model_fields:
        known = [value for part in parts if (value := getattr(part, name)) is not None]
        means[name] = float(np.mean(known)) if known else None
    return Metrics.model_validate(means | {"patients": parts[0].patients})


def _digest_of(runs: Sequence[CompletedRun]) -> str:
    """SHA-256 over the trained models' bytes."""
    digest = hashlib.sha256()
    for run in runs:
        digest.update(run.state.model_parameters.tobytes())
        digest.update(run.state.center.tobytes())
        digest.update(run.state.scale.tobytes())
    return digest.hexdigest()
