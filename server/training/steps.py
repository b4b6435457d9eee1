"""Server steps: what one summed round does to the model. Pure, and post-processing throughout."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.definition import DistributedTraining, LocalTraining, Study
from fedward.server.training.state import TrainingState


def stepped(
    state: TrainingState,
    total: NDArray[np.float64],
    study: Study,
    *,
    sites: int,
    all_sites: int,
    last_round: int,
) -> TrainingState:
    """Return the state after the next round, whose sum over ``sites`` sites is ``total``.

    The study declares patients for ``all_sites`` of the signed roster; a round over fewer divides
    by their part of them, as if all sites had equally many. ``last_round`` is the last one that the
    budget pays for as far as is known now: the tail of iterates to average ends there. Where it
    comes sooner than was known, the tail is shorter.
    """
    training = study.training
    if isinstance(training, LocalTraining):
        moved = _local_step(state, total / sites, training)
        average_last = 1
    else:
        patients = study.cohort.expected_patients * (sites / all_sites)
        moved = _distributed_step(state, total / (patients * training.sampling_rate), training)
        average_last = training.average_last
    in_tail = moved.round > last_round - average_last and average_last > 1
    if in_tail:
        moved = replace(moved, tail=moved.tail + moved.parameters, tail_count=moved.tail_count + 1)
    return moved


def scheduled_rate(training: DistributedTraining, *, round_number: int) -> float:
    """Learning rate of a round counted from 1: constant, or falling linearly or as a cosine."""
    passed = (round_number - 1) / training.rounds
    factor = {
        "constant": 1.0,
        "linear": 1.0 - passed,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * passed)),
    }[training.schedule]
    return training.learning_rate * factor


def _distributed_step(
    state: TrainingState, gradient: NDArray[np.float64], training: DistributedTraining
) -> TrainingState:
    """Gradient descent with heavy-ball momentum (Polyak 1964) and an L2 penalty."""
    number = state.round + 1
    velocity = training.momentum * state.first + gradient + training.l2 * state.parameters
    rate = scheduled_rate(training, round_number=number)
    return replace(
        state, round=number, first=velocity, parameters=state.parameters - rate * velocity
    )


def _local_step(
    state: TrainingState, change: NDArray[np.float64], training: LocalTraining
) -> TrainingState:
    """FedAvg (McMahan et al. 2017), FedProx (same server) or FedAdam (Reddi et al. 2021, alg. 2).

    Every site counts alike: true cohort sizes are private, and the sites' steps already divide by
    a public size.
    """
    number = state.round + 1
    rate = training.server_learning_rate
    if training.combine != "fedadam":
        return replace(state, round=number, parameters=state.parameters + rate * change)
    beta1, beta2 = training.server_betas
    first = beta1 * state.first + (1 - beta1) * change
    second = beta2 * state.second + (1 - beta2) * change**2
    step = rate * first / (np.sqrt(second) + training.server_adaptivity)
    return replace(
        state, round=number, first=first, second=second, parameters=state.parameters + step
    )
