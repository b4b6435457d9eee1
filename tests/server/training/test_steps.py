from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.common.study.definition import Study
from fedward.server.training.state import TrainingState
from fedward.server.training.steps import scheduled_rate, stepped

MakeStudy = Callable[..., Study]

ROUNDS = 8
EXPECTED = 60
SITES = 5
START = np.array([0.5, -1.0, 2.0])
TOTALS = np.random.default_rng(0).normal(scale=EXPECTED, size=(ROUNDS, 3))


def beginning() -> TrainingState:
    nothing = np.zeros(3)
    return TrainingState(
        run_id="run",
        study_digest="0" * 64,
        round=0,
        logged=0,
        tail_count=0,
        parameters=START.copy(),
        first=nothing,
        second=nothing,
        tail=nothing,
        center=nothing,
        scale=np.ones(3),
    )


def trained(
    study: Study,
    totals: Iterable[NDArray[np.float64]] = TOTALS,
    *,
    sites: int = SITES,
    last_rounds: Iterable[int] = itertools.repeat(ROUNDS),
) -> list[TrainingState]:
    states = [beginning()]
    for total, last in zip(totals, last_rounds, strict=False):
        states.append(
            stepped(states[-1], total, study, sites=sites, all_sites=SITES, last_round=last)
        )
    return states[1:]


def distributed(make_study: MakeStudy, **changes: Any) -> Study:
    training = {"method": "distributed", "rounds": ROUNDS, "learning_rate": 0.3} | changes
    return make_study(training=training, cohort={"expected_patients": EXPECTED})


def local(make_study: MakeStudy, **changes: Any) -> Study:
    training = {
        "method": "local",
        "rounds": ROUNDS,
        "epochs": 1,
        "sampling_rate": 0.5,
        "learning_rate": 0.1,
    } | changes
    return make_study(local=True, training=training)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("sampling_rate", [1.0, 0.25])
def test_distributed_training_is_gradient_descent_with_momentum(
    make_study: MakeStudy, momentum: float, l2: float, sampling_rate: float
) -> None:
    batch = "full" if sampling_rate == 1 else "poisson"
    study = distributed(
        make_study, momentum=momentum, l2=l2, batch=batch, sampling_rate=sampling_rate
    )
    weights, velocity = START.copy(), np.zeros(3)
    expected = []
    for total in TOTALS:
        gradient = total / (EXPECTED * sampling_rate) + l2 * weights
        velocity = momentum * velocity + gradient
        weights = weights - 0.3 * velocity
        expected.append(weights)

    found = trained(study)

    np.testing.assert_allclose([state.parameters for state in found], expected, rtol=1e-12)
    assert [state.round for state in found] == list(range(1, ROUNDS + 1))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.8, 0.6, 0.4, 0.2]),
        ("cosine", [0.4 * (1 + math.cos(math.pi * passed)) for passed in (0, 0.25, 0.5, 0.75)]),
    ],
)
def test_the_rate_follows_the_schedule(
    make_study: MakeStudy, schedule: str, rates: list[float]
) -> None:
    study = distributed(make_study, rounds=4, learning_rate=0.8, schedule=schedule)
    assert study.training.method == "distributed"

    found = [scheduled_rate(study.training, round_number=number) for number in range(1, 5)]

    np.testing.assert_allclose(found, rates)
    steps = np.diff([START, *(state.parameters for state in trained(study, TOTALS[:4]))], axis=0)
    np.testing.assert_allclose(steps, -np.array(rates)[:, None] * TOTALS[:4] / EXPECTED)


@pytest.mark.parametrize("average_last", [2, 5, ROUNDS])
def test_the_model_is_the_mean_of_the_last_iterates(
    make_study: MakeStudy, average_last: int
) -> None:
    states = trained(distributed(make_study, average_last=average_last))
    iterates = [state.parameters for state in states]

    for number, state in enumerate(states, start=1):
        in_tail = max(0, number - (ROUNDS - average_last))
        mean = np.mean(iterates[number - in_tail : number], axis=0) if in_tail else iterates[number - 1]  # fmt: skip # noqa: E501
        assert state.tail_count == in_tail
        np.testing.assert_allclose(state.model_parameters, mean, rtol=1e-12)
    plain = trained(distributed(make_study))
    assert [state.parameters.tolist() for state in plain] == [one.tolist() for one in iterates]


def test_without_averaging_the_model_is_the_last_iterate(make_study: MakeStudy) -> None:
    last = trained(distributed(make_study))[-1]

    assert last.tail_count == 0
    assert last.model_parameters.tolist() == last.parameters.tolist()


def test_a_round_over_fewer_sites_divides_by_their_part_of_the_patients(
    make_study: MakeStudy,
) -> None:
    study = distributed(make_study, momentum=0.5)
    few = trained(study, TOTALS * 3 / 5, sites=3)

    for state, whole in zip(few, trained(study), strict=True):
        np.testing.assert_allclose(state.parameters, whole.parameters, rtol=1e-12)


def test_the_tail_ends_with_the_last_round_that_is_paid_for(make_study: MakeStudy) -> None:
    study = distributed(make_study, average_last=3)
    iterates = [state.parameters for state in trained(distributed(make_study))]
    # Two attempts are lost at rounds 4 and 6: the training ends with round 6.
    states = trained(study, TOTALS[:6], last_rounds=[8, 8, 8, 7, 7, 6])

    # Round 4 was not known to be one of the last three.
    assert [state.tail_count for state in states] == [0, 0, 0, 0, 1, 2]
    np.testing.assert_allclose(
        states[-1].model_parameters, np.mean(iterates[4:6], axis=0), rtol=1e-12
    )
    early = trained(study, TOTALS[:6], last_rounds=itertools.repeat(6))
    np.testing.assert_allclose(
        early[-1].model_parameters, np.mean(iterates[3:6], axis=0), rtol=1e-12
    )


@pytest.mark.parametrize(
    "changes", [{"combine": "fedavg"}, {"combine": "fedprox", "proximal": 0.1}]
)
def test_federated_averaging_adds_the_mean_change(
    make_study: MakeStudy, changes: dict[str, Any]
) -> None:
    study = local(make_study, server_learning_rate=0.7, **changes)

    expected = START + np.cumsum(0.7 * TOTALS / SITES, axis=0)
    np.testing.assert_allclose([state.parameters for state in trained(study)], expected)


def test_fedadam_is_algorithm_2_of_reddi_et_al(make_study: MakeStudy) -> None:
    study = local(
        make_study,
        combine="fedadam",
        server_learning_rate=0.05,
        server_betas=(0.8, 0.95),
        server_adaptivity=0.01,
    )
    weights = START.copy()
    momentum, square = np.zeros(3), np.zeros(3)
    expected = []
    for total in TOTALS:
        change = total / SITES
        for i in range(3):
            momentum[i] = 0.8 * momentum[i] + 0.2 * change[i]
            square[i] = 0.95 * square[i] + 0.05 * change[i] * change[i]
            weights[i] += 0.05 * momentum[i] / (math.sqrt(square[i]) + 0.01)
        expected.append(weights.copy())

    found = trained(study)

    np.testing.assert_allclose([state.parameters for state in found], expected, rtol=1e-12)
    np.testing.assert_allclose(found[-1].first, momentum)
    np.testing.assert_allclose(found[-1].second, square)


@pytest.mark.parametrize("kind", ["distributed", "fedavg", "fedadam"])
def test_a_step_changes_no_array_in_place(make_study: MakeStudy, kind: str) -> None:
    study = (
        distributed(make_study, momentum=0.5, average_last=8)
        if kind == "distributed"
        else local(make_study, combine=kind)
    )
    state, total = beginning(), TOTALS[0].copy()
    before = state.to_frame()
    after = stepped(state, total, study, sites=SITES, all_sites=SITES, last_round=ROUNDS)

    assert state.to_frame() == before
    assert total.tolist() == TOTALS[0].tolist()
    assert after.round == 1
    for kept in ("run_id", "study_digest", "logged"):
        assert getattr(after, kept) == getattr(state, kept)
    assert after.center is state.center
    assert after.scale is state.scale
