"""The coordinator: drives one study from its first query to the trained model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedward.common.privacy.plan import SCALER_CLIP
from fedward.common.protocol.queries import GradientSumQuery, LocalUpdateQuery, MomentsQuery
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions, study_model
from fedward.common.study.scaling import Scaler, scaler_from_moments
from fedward.server.sum_rounds import (
    CoordinationError,
    ReleaseRecord,
    SumRounds,
    identify_sites,
)
from fedward.server.training.checkpoints import Checkpoints
from fedward.server.training.state import TrainingState
from fedward.server.training.steps import stepped

OnRound = Callable[[TrainingState], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run adds to its study; nothing here touches privacy.

    ``timeout`` is in seconds for one exchange; None waits for ever.
    """

    run_id: str
    expected_sites: int
    model_seed: int = 0
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletedRun:
    """The last state of a run and the log of every release that the coordinator received."""

    state: TrainingState
    records: tuple[ReleaseRecord, ...]


def coordinate(
    grid: Grid,
    study: Study,
    *,
    options: RunOptions,
    checkpoints: Checkpoints | None = None,
    on_round: OnRound | None = None,
) -> CompletedRun:
    """Run the study over ``grid`` and return the trained model, resuming where a checkpoint is.

    ``on_round`` is called after every completed round, and once with the state resumed from.

    Raises:
        CoordinationError: a site is missing, refused, or sent something else than asked for; or
            the checkpoint is of another run or study; or the model diverged.
    """
    resumed = checkpoints.load() if checkpoints else None
    if resumed and (resumed[0].run_id, resumed[0].study_digest) != (options.run_id, study.digest):
        raise CoordinationError(
            "the checkpoint is of another run or another study; keep each run in its own folder"
        )
    nodes = identify_sites(
        grid,
        run_id=options.run_id,
        study_digest=study.digest,
        expected_sites=options.expected_sites,
        timeout=options.timeout,
    )
    rounds = SumRounds(grid, nodes=nodes, timeout=options.timeout)
    if resumed:
        state, records = resumed
    else:
        scaler, scaler_records = _scaler(rounds, study, options)
        records = list(scaler_records)
        state = _initial_state(study, options, scaler, logged=len(records))
        if checkpoints:
            checkpoints.save(state, records)
    if on_round:
        on_round(state)
    while state.round < study.training.rounds:
        summed = rounds.ask(_training_query(rounds, study, options, state), _arrays_of(state))
        records.extend(summed.records)
        state = _advanced(state, summed.total, study, sites=len(rounds.roster))
        state = replace(state, logged=len(records))
        if checkpoints:
            checkpoints.save(state, summed.records)
        if on_round:
            on_round(state)
    return CompletedRun(state=state, records=tuple(records))


def _advanced(
    state: TrainingState, total: NDArray[np.float64], study: Study, *, sites: int
) -> TrainingState:
    with np.errstate(over="ignore", invalid="ignore"):
        after = stepped(state, total, study, sites=sites)
    if not all(np.isfinite(part).all() for part in (after.parameters, after.first, after.second)):
        raise CoordinationError(
            f"the model diverged in round {after.round}; lower training.learning_rate or "
            "training.l2 in the study"
        )
    return after


def _scaler(
    rounds: SumRounds, study: Study, options: RunOptions
) -> tuple[Scaler, tuple[ReleaseRecord, ...]]:
    if study.scaling.method == "public_range":
        return Scaler.identity(study, columns=Dimensions.of(study).columns), ()
    query = MomentsQuery(
        run_id=options.run_id,
        study_digest=study.digest,
        roster=rounds.roster,
        round=0,
        attempt=1,
    )
    summed = rounds.ask(query, {})
    # Every site adds its share, so all of them together make more noise than is guaranteed.
    executed = summed.records[0].executed
    deviation = executed.share_multiplier * math.sqrt(len(rounds.roster)) if executed else 0.0
    scaler = scaler_from_moments(summed.total, study, noise_deviation=deviation * SCALER_CLIP)
    return scaler, summed.records


def _initial_state(
    study: Study, options: RunOptions, scaler: Scaler, *, logged: int
) -> TrainingState:
    parameters = study_model(study).initial(options.model_seed)
    nothing = np.zeros_like(parameters)
    return TrainingState(
        run_id=options.run_id,
        study_digest=study.digest,
        round=0,
        logged=logged,
        tail_count=0,
        parameters=parameters,
        first=nothing,
        second=nothing,
        tail=nothing,
        center=scaler.center,
        scale=scaler.scale,
    )


def _training_query(
    rounds: SumRounds, study: Study, options: RunOptions, state: TrainingState
) -> GradientSumQuery | LocalUpdateQuery:
    kind = LocalUpdateQuery if isinstance(study.training, LocalTraining) else GradientSumQuery
    return kind(
        run_id=options.run_id,
        study_digest=state.study_digest,
        roster=rounds.roster,
        round=state.round + 1,
        attempt=1,
    )


def _arrays_of(state: TrainingState) -> dict[str, np.ndarray]:
    return {"parameters": state.parameters, "center": state.center, "scale": state.scale}
