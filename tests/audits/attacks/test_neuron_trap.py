from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.attacks.neuron_trap import read_by_neurons, trap_parameters
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import clipped_gradient_sum
from fedward.common.models.mlp import Mlp, MlpOptions

COLUMNS = 6
SHAPES = [("relu", (24,)), ("tanh", (24,)), ("relu", (24, 4)), ("tanh", (24, 4, 3))]


def perceptron(activation: str, hidden: tuple[int, ...]) -> Mlp:
    options = MlpOptions.model_validate({"hidden": hidden, "activation": activation})
    return Mlp(options=options, columns=COLUMNS)


def patients(count: int) -> Cohort:
    generator = np.random.default_rng(0)
    return Cohort(
        features=generator.uniform(-1, 1, (count, COLUMNS)),
        target=generator.integers(0, 2, count).astype(np.float64),
        offsets=np.arange(count + 1),
    )


@pytest.mark.parametrize(("activation", "hidden"), SHAPES)
@pytest.mark.parametrize(("clip", "noise"), [(1e6, 0.0), (1.0, 0.0), (1.0, 5.0)])
def test_most_records_are_read_off_sums_without_noise(
    activation: str, hidden: tuple[int, ...], clip: float, noise: float
) -> None:
    model, cohort = perceptron(activation, hidden), patients(60)
    drawn = np.random.default_rng(1)

    def ask(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        total = clipped_gradient_sum(model, parameters, cohort, None, clip=clip)
        return total + noise * drawn.standard_normal(len(total))

    guesses = read_by_neurons(
        ask,
        model,
        rounds=16,
        reference=np.random.default_rng(2).uniform(-1, 1, (50, COLUMNS)),
        patients=60,
        generator=np.random.default_rng(3),
    )
    misses = np.abs(cohort.features[:, None] - guesses[None]).max(axis=2).min(axis=1)

    assert (misses < 0.02).mean() == 0 if noise else (misses < 0.02).mean() > 0.7


@pytest.mark.parametrize(("activation", "hidden"), SHAPES)
def test_a_neuron_between_two_patients_tells_them_apart(
    activation: str, hidden: tuple[int, ...]
) -> None:
    model = perceptron(activation, hidden)
    direction = np.eye(COLUMNS)[0]
    cohort = Cohort(
        features=np.array([[-0.5] * COLUMNS, [0.5] * COLUMNS]),
        target=np.array([1.0, 1.0]),
        offsets=np.array([0, 1, 2]),
    )
    flat = trap_parameters(model, direction, np.array([-0.5, 0.5]) - 0.01, logit=-1e3)
    gradient = clipped_gradient_sum(model, flat, cohort, None, clip=1e6)
    weights, biases = (part(gradient)[1] for part in (model.layers[0].weight, model.layers[0].bias))

    # The second neuron sees the second patient alone.
    assert weights / biases == pytest.approx(cohort.features[1], abs=1e-3)
