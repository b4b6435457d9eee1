"""Trap weights for a perceptron: each neuron of the first layer tells apart a few patients.

All neurons look along one direction ``v``, each with a threshold of its own, and pass on what they
see with equal weight. With ReLU, the gradients of two neighbours differ by the patients between
their thresholds (Fowl et al. 2022, "Robbing the Fed"; trap weights after Boenisch et al. 2023,
"When the Curious Abandon Honesty"). With tanh, a steep neuron has a gradient for the patients at
its threshold alone. Either way the quotient of the weights' gradient and the bias's is a record
where one patient is there. Everything is read from one sum, so batches may be fresh in each round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.audits.attacks.threshold_trap import Ask
from fedward.common.models.mlp import Mlp

MOST_NEURONS = 256
"""More would make a patient's gradient so long that clipping hides it in rounding."""
SURE = 1e3
"""A logit at which the loss of one outcome vanishes."""
STEEP = 8.0
"""Distance of two thresholds times the slope of a tanh neuron."""
HALF = 0.1
"""Weight of a neuron in deeper tanh layers, which stay where they are nearly linear."""


def read_by_neurons(
    ask: Ask,
    model: Mlp,
    *,
    rounds: int,
    reference: NDArray[np.float64],
    patients: float,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Guess records ``[guesses, columns]`` from ``rounds`` sums.

    ``reference`` are other patients' records ``[n, columns]``, whose spread along a direction
    places the thresholds; about ``patients`` are in each sum.
    """
    neurons = min(model.options.hidden[0], MOST_NEURONS)
    rectified = model.options.activation == "relu"
    guesses: list[NDArray[np.float64]] = []
    for number in range(rounds):
        direction = generator.standard_normal(model.columns)
        direction /= np.linalg.norm(direction)
        # With ReLU, one of the two outcomes is looked at in each round.
        share = min(1.0, neurons / (patients / 2 if rectified else patients))
        start = generator.uniform(0, 1 - share)
        places = np.quantile(reference @ direction, np.linspace(start, start + share, neurons))
        thresholds = np.sort(places + 1e-9 * np.arange(neurons))
        logit = SURE if number % 2 else -SURE
        flat = trap_parameters(model, direction, thresholds, logit=logit)
        guesses.append(_quotients(model, ask(flat), neurons=neurons, rectified=rectified))
    return np.concatenate(guesses)


def trap_parameters(
    model: Mlp,
    direction: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    *,
    logit: float,
) -> NDArray[np.float64]:
    """Flat parameters whose first neurons sit at the sorted ``thresholds`` along ``direction``.

    Deeper layers pass their sum on. With ReLU ``logit`` is added at the end; with tanh neighbours
    have opposite signs, so that the logit stays near 0.
    """
    flat = np.zeros(model.parameter_count)
    count = len(thresholds)
    first, *deeper = model.layers
    rectified = model.options.activation == "relu"
    slopes = np.ones(count) if rectified else STEEP / _gaps(thresholds)
    first.weight(flat)[:count] = slopes[:, None] * direction
    first.bias(flat)[:count] = -slopes * thresholds
    into = np.ones(count) if rectified else np.where(np.arange(count) % 2, -1.0, 1.0)
    for layer in deeper:
        last = layer is deeper[-1]
        layer.weight(flat)[0, : len(into)] = into * (1.0 if rectified or last else HALF)
        into = np.ones(1)
        if rectified and last:
            layer.bias(flat)[0] = logit
        elif rectified:
            layer.bias(flat)[0] = 1.0  # above 0 for everyone, so that it is linear
    return flat


def _gaps(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance to the neighbours, at least a millionth."""
    if len(thresholds) < 2:
        return np.ones(len(thresholds))
    return np.maximum(np.gradient(thresholds), 1e-6)


def _quotients(
    model: Mlp, gradient: NDArray[np.float64], *, neurons: int, rectified: bool
) -> NDArray[np.float64]:
    first = model.layers[0]
    weights, biases = first.weight(gradient)[:neurons], first.bias(gradient)[:neurons]
    if rectified:
        weights, biases = weights[:-1] - weights[1:], biases[:-1] - biases[1:]
    somebody = np.abs(biases) > 1e-6 * max(np.abs(biases).max(initial=0.0), 1e-12)
    return np.asarray(weights[somebody] / biases[somebody, None], dtype=np.float64)
