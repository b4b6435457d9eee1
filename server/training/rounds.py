"""The training's rounds: a scaler first, then one sum and one server step after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.common.privacy.sum_plan import SCALER_CLIP, SumKind
from fedward.common.protocol.queries import GradientSumQuery, LocalUpdateQuery, MomentsQuery
from fedward.common.protocol.round_numbers import MOMENTS_ROUND
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions, study_model
from fedward.common.study.scaling import Scaler, scaler_from_moments
from fedward.server.attempt import WantedSum
from fedward.server.errors import CoordinationError
from fedward.server.sum_rounds import SumRounds
from fedward.server.training.state import TrainingState
from fedward.server.training.steps import stepped


def first_state(rounds: SumRounds, study: Study, *, run_id: str, model_seed: int) -> TrainingState:
    """Ask for the scaler if the study wants one, and begin with the model's initial parameters."""
    scaler = _scaler(rounds, study)
    parameters = study_model(study).initial(model_seed)
    nothing = np.zeros_like(parameters)
    return TrainingState(
        run_id=run_id,
        study_digest=study.digest,
        round=0,
        logged=0,
        tail_count=0,
        parameters=parameters,
        first=nothing,
        second=nothing,
        tail=nothing,
        center=scaler.center,
        scale=scaler.scale,
    )


def next_state(rounds: SumRounds, study: Study, state: TrainingState) -> TrainingState:
    """Ask for the next round's sum and take the server step.

    Raises:
        BudgetSpent: lost attempts have used up the rest of the budget.
        CoordinationError: as :meth:`SumRounds.ask` says, or the model diverged.
    """
    local = isinstance(study.training, LocalTraining)
    wanted = WantedSum(
        kind="training",
        query=LocalUpdateQuery if local else GradientSumQuery,
        round=state.round + 1,
        length=Dimensions.of(study).parameters,
        arrays=model_arrays(state),
    )
    summed = rounds.ask(wanted, set_aside=_set_aside(study))
    completed = state.round + 1
    left = rounds.left("training", set_aside=_set_aside(study))
    with np.errstate(over="ignore", invalid="ignore"):
        after = stepped(
            state,
            summed.total,
            study,
            sites=len(summed.sites),
            all_sites=len(rounds.roster),
            last_round=min(study.training.rounds, completed + left),
        )
    if not all(np.isfinite(part).all() for part in (after.parameters, after.first, after.second)):
        raise CoordinationError(
            f"the model diverged in round {after.round}; lower training.learning_rate or "
            "training.l2 in the study"
        )
    return after


def model_arrays(state: TrainingState) -> dict[str, NDArray[np.float64]]:
    """What goes with every question about a model."""
    return {"parameters": state.parameters, "center": state.center, "scale": state.scale}


def _scaler(rounds: SumRounds, study: Study) -> Scaler:
    dimensions = Dimensions.of(study)
    if study.scaling.method == "public_range":
        return Scaler.identity(study, columns=dimensions.columns)
    wanted = WantedSum(
        kind="moments",
        query=MomentsQuery,
        round=MOMENTS_ROUND,
        length=dimensions.moments,
        arrays={},
    )
    summed = rounds.ask(wanted, set_aside=_set_aside(study, training=True))
    # The study declares the patients of all sites of the roster; those of absent ones are missing.
    upscaled = len(rounds.roster) / len(summed.sites)
    return scaler_from_moments(
        summed.total * upscaled,
        study,
        noise_deviation=summed.noise * SCALER_CLIP * upscaled,
    )


def _set_aside(study: Study, *, training: bool = False) -> dict[SumKind, int]:
    """What must be left for later: the counts, and one round of training before it has begun."""
    set_aside: dict[SumKind, int] = {}
    if study.statistics is not None:
        set_aside["counts"] = 1
    if training:
        steps = study.training
        set_aside["training"] = steps.steps_per_round if isinstance(steps, LocalTraining) else 1
    return set_aside
