"""One seed of one arm: train, evaluate on held-out patients, account for what was executed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedward.common.privacy.accounting import AccountedEpsilon
from fedward.server.coordinator import CompletedRun
from fedward.server.training.state import TrainingState
from fedward.simulations.arms import Arm
from fedward.simulations.books import BOOKS_NAME, Books
from fedward.simulations.charged_evaluation import charged_evaluation
from fedward.simulations.conditions import Conditions
from fedward.simulations.credentials import Credentials
from fedward.simulations.evaluation import (
    Predictions,
    joined,
    metrics_by_site,
    predict_patients,
    round_point,
)
from fedward.simulations.federation import Engine, SimulatedRun, train
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.results import CrossCheck, Metrics, RoundPoint, SeedResult, Traffic
from fedward.simulations.run_folder import FinishedSeed, RunFolder
from fedward.simulations.spending import spent_after, spent_by
from fedward.simulations.summaries import mean_rounds, metrics_of
from fedward.simulations.traffic import traffic_of
from fedward.simulations.trainings import (
    SplitHospitals,
    Training,
    run_options,
    simulated_sites,
    trainings_of,
)
from fedward.simulations.transcript import TRANSCRIPT_NAME, Transcript


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
    conditions: Conditions,
    on_progress: OnProgress,
    recorded: bool = False,
    booked: bool = False,
) -> FinishedSeed:
    """Train and judge one seed; continues what the folder holds of it.

    ``recorded`` writes every message of it to the folder's transcript. ``booked`` writes its books,
    and trains it from the start: ledgers on the disk are not taken back to an earlier round.
    """
    held_out = concatenate(list(split.held_out.values()))
    by_site: dict[str, Predictions] = {}
    on_everyone: list[Predictions] = []
    points: list[list[RoundPoint]] = []
    runs: list[SimulatedRun] = []
    trainings = trainings_of(arm, split)
    for training in trainings:
        clock = _Clock()

        def on_round(
            state: TrainingState, training: Training = training, clock: _Clock = clock
        ) -> None:
            # What the simulation looks at after a round is no part of training.
            folder.add_seconds(arm.key, seed, training.part, clock.lap())
            spent = spent_after(training.plan, training.study, rounds=state.round, lost=state.lost)
            if state.round:
                point = round_point(state, training.study, held_out, epsilon=spent)
                folder.add_point(arm.key, seed, training.part, point)
            on_progress(Progress(arm=arm, seed=seed, round=state.round, epsilon=spent))
            clock.lap()

        run_id = f"{arm.study.about.name}/{arm.key}/{seed}/{training.part}"
        credentials = Credentials.issue(
            training.cohorts, run_id=run_id, randomness=conditions.randomness
        )
        transcript = folder.path / TRANSCRIPT_NAME
        run_training = train
        if booked:
            folder.forget_training(arm.key, seed, training.part)
            transcript.unlink(missing_ok=True)
            run_training = Books(folder.path / BOOKS_NAME, credentials=credentials).train
        run = run_training(
            training.study,
            simulated_sites(arm, training, credentials, conditions=conditions, seed=seed),
            engine=engine,
            options=run_options(arm, training, credentials, run_id=run_id, seed=seed),
            checkpoints=folder.checkpoints(arm.key, seed, training.part),
            on_round=on_round,
            watcher=Transcript(transcript) if recorded else None,
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
    plan = trainings[0].plan
    spent = (
        spent_by(runs[0].records, sites=trainings[0].cohorts, delta=plan.accounting_delta)
        if plan
        else None
    )
    federated = arm.grouping == "federated"
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
        epsilon=spent.epsilon.epsilon if spent else None,
        epsilon_alone=spent.epsilon_alone if spent else None,
        cross_check=_cross_check(spent.epsilon) if spent else None,
        masked=_masked(runs),
        traffic=_traffic(trainings[0], runs[0]) if federated else None,
        charged=charged_evaluation(
            runs[0],
            trainings[0].study,
            seed=seed,
            training=trainings[0].cohorts,
            predictions=by_site,
        )
        if federated
        else None,
        notes=[note for run in runs for note in run.notes],
    )


class _Clock:
    """Times the laps between two calls, in seconds."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, and begin the next."""
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before


def _masked(runs: Sequence[CompletedRun]) -> bool:
    """Whether each sum that hospitals released together was masked, answer by answer."""
    return all(
        record.masked
        for run in runs
        for record in run.records
        if record.release_digest is not None and record.kind != "site_evaluation"
    )


def _traffic(training: Training, run: SimulatedRun) -> Traffic:
    return traffic_of(
        run.records,
        sites=len(training.cohorts),
        rounds=run.state.round,
        timings=run.timings,
    )


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
