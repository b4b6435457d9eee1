"""One seed of one arm: train, evaluate on held-out patients, account for what was executed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedward.common.privacy.accounting import AccountedEpsilon, cross_checked_epsilon, epsilon_of
from fedward.server.coordinator import CompletedRun, RunOptions
from fedward.server.training.state import TrainingState
from fedward.simulations.arms import Arm
from fedward.simulations.evaluation import (
    Predictions,
    joined,
    metrics_by_site,
    predict_patients,
    round_point,
)
from fedward.simulations.federation import Engine, executed_events, train
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.results import CrossCheck, Metrics, RoundPoint, SeedResult
from fedward.simulations.run_folder import FinishedSeed, RunFolder
from fedward.simulations.spending import spent_after
from fedward.simulations.summaries import mean_rounds, metrics_of
from fedward.simulations.trainings import SplitHospitals, Training, simulated_sites, trainings_of


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a progress bar shows after each completed round."""

    arm: Arm
    seed: int
    round: int
    epsilon: float | None


OnProgress = Callable[[Progress], None]


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
    trainings = trainings_of(arm, split)
    for training in trainings:
        clock = _Clock()

        def on_round(
            state: TrainingState, training: Training = training, clock: _Clock = clock
        ) -> None:
            # What the simulation looks at after a round is no part of training.
            folder.add_seconds(arm.key, seed, training.part, clock.lap())
            spent = spent_after(training.plan, training.study, rounds=state.round)
            if state.round:
                point = round_point(state, training.study, held_out, epsilon=spent)
                folder.add_point(arm.key, seed, training.part, point)
            on_progress(Progress(arm=arm, seed=seed, round=state.round, epsilon=spent))
            clock.lap()

        run = train(
            training.study,
            simulated_sites(arm, training, insecure_noise_seed=insecure_noise_seed),
            engine=engine,
            options=RunOptions(
                run_id=f"{arm.study.about.name}/{arm.key}/{seed}/{training.part}",
                expected_sites=len(training.cohorts),
                model_seed=seed,
            ),
            checkpoints=folder.checkpoints(arm.key, seed, training.part),
            on_round=on_round,
        )
        runs.append(run)
        points.append(folder.points(arm.key, seed, training.part))
        on_everyone.append(predict_patients(run.state, training.study, held_out))
        judged = split.held_out
        if arm.grouping == "alone":
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
            seconds=sum(folder.seconds(arm.key, seed, training.part) for training in trainings),
            model_digest=_digest_of(runs),
        ),
        rounds=mean_rounds(points),
        target=pooled.target.tolist(),
        probability=pooled.probability.tolist(),
        epsilon=accounted[0].epsilon if accounted else None,
        epsilon_alone=accounted[1] if accounted else None,
        cross_check=_cross_check(accounted[0]) if accounted else None,
        masked=all(record.masked for run in runs for record in run.records),
    )


class _Clock:
    """Times the laps between two calls, in seconds."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, and begin the next."""
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before


def _accounted(training: Training, run: CompletedRun) -> tuple[AccountedEpsilon, float]:
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
