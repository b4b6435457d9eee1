from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import Study
from fedward.server.errors import BudgetSpent, CoordinationError
from fedward.server.sum_rounds import SumRounds
from fedward.server.training.rounds import first_state, model_arrays, next_state
from fedward.server.training.state import TrainingState

MakeStudy = Callable[..., Study]
Federate = Callable[..., Any]
UNIT = 2.0**-24
BIG = 2**24
"""Units to 1.0."""


def begun(study: Study, federation: Any, **options: Any) -> SumRounds:
    rounds = SumRounds(federation.grid(), study, federation.options(**options))
    rounds.begin()
    return rounds


def started(rounds: SumRounds, study: Study, *, model_seed: int = 0) -> TrainingState:
    return first_state(rounds, study, run_id="run", model_seed=model_seed)


@pytest.fixture
def public(make_study: MakeStudy) -> Callable[..., Study]:
    """A study that needs no scaler."""

    def make(**training: Any) -> Study:
        fields = {"method": "distributed", "rounds": 4, "learning_rate": 1.0} | training
        return make_study(scaling={"method": "public_range"}, training=fields)

    return make


def moments(query: Any) -> Any:
    """Three columns' first and second moments, or a gradient."""
    return range(6) if query.kind == "moments" else (BIG, 0, 0, 0)


@pytest.fixture
def three(federate: Federate) -> Any:
    federation = federate("abc")
    for site in federation.sites.values():
        site.summand = moments
    return federation


def test_a_study_with_public_ranges_begins_without_a_question(
    public: Callable[..., Study], three: Any
) -> None:
    study = public()
    rounds = begun(study, three)
    state = started(rounds, study)

    assert len(rounds.log) == 0
    assert (state.round, state.tail_count, state.run_id) == (0, 0, "run")
    assert state.study_digest == study.digest
    assert (state.center.tolist(), state.scale.tolist()) == ([0.0] * 3, [1.0] * 3)
    assert sorted(model_arrays(state)) == ["center", "parameters", "scale"]


def test_the_scaler_of_fewer_sites_is_scaled_up_to_all(study: Study, federate: Federate) -> None:
    """Of four equal sites, two give the same scaler as all of them."""
    states = []
    for names in ("ab", "abcd"):
        federation = federate("abcd")
        for site in federation.sites.values():
            site.summand = lambda _: np.arange(1, 7) * BIG
        for absent in set("abcd") - set(names):
            federation.sites[absent].faults = {1: lambda _: RuntimeError("down")}
        rounds = begun(study, federation)
        states.append(started(rounds, study))
        assert rounds.sites == tuple(names)

    np.testing.assert_allclose(states[0].center, states[1].center)
    np.testing.assert_allclose(states[0].scale, states[1].scale)
    assert len(set(states[0].center)) > 1


def test_the_noise_of_fewer_sites_is_scaled_up_as_well(
    study: Study, federate: Federate, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    original = "fedward.server.training.rounds.scaler_from_moments"
    from fedward.server.training import rounds as module

    scaler_from_moments = module.scaler_from_moments

    def watched(total: Any, study: Study, *, noise_deviation: float) -> Any:
        told.append(noise_deviation)
        return scaler_from_moments(total, study, noise_deviation=noise_deviation)

    monkeypatch.setattr(original, watched)
    for absent in ("", "d"):
        federation = federate("abcd", study)
        for site in federation.sites.values():
            site.summand = moments
        for name in absent:
            federation.sites[name].faults = {1: lambda _: RuntimeError("down")}
        started(begun(study, federation), study)

    # Four shares of which three make up what is planned, and three for four, of which two do.
    scaler = plan_for(study, sites=4).scaler
    assert scaler is not None
    planned = scaler.noise_multiplier
    assert told == pytest.approx([planned * (4 / 3) ** 0.5, planned * (3 / 2) ** 0.5 * 4 / 3])


def test_a_round_is_one_step(public: Callable[..., Study], three: Any) -> None:
    study = public()
    rounds = begun(study, three)
    state = next_state(rounds, study, started(rounds, study))

    assert state.round == 1
    assert state.parameters.tolist() == [-3 / study.cohort.expected_patients, 0.0, 0.0, 0.0]
    assert {line.kind for line in rounds.log.records} == {"training"}


def test_rounds_end_with_the_budget(make_study: MakeStudy, federate: Federate) -> None:
    study = make_study(
        scaling={"method": "public_range"},
        training={"method": "distributed", "rounds": 3, "learning_rate": 1.0, "average_last": 2},
        statistics={},
    )
    federation = federate("abcd", study)
    federation.sites["d"].faults = {1: lambda _: RuntimeError("down")}
    rounds = begun(study, federation)
    state = started(rounds, study)
    for _ in range(2):
        state = next_state(rounds, study, state)

    with pytest.raises(BudgetSpent):
        next_state(rounds, study, state)
    # What the count of outcomes costs is not touched.
    assert rounds.left("counts") == 1
    # The last two rounds are averaged, though the study meant rounds 2 and 3.
    assert state.tail_count == 2


def test_the_scaler_leaves_a_round_of_training(make_study: MakeStudy, federate: Federate) -> None:
    study = make_study(training={"method": "distributed", "rounds": 1, "learning_rate": 1.0})
    federation = federate("abcd", study)
    for site in federation.sites.values():
        site.summand = moments
    federation.sites["d"].faults = {1: lambda _: RuntimeError("down")}

    with pytest.raises(BudgetSpent, match="no other attempt at the sum for the scaler"):
        started(begun(study, federation), study)


def test_a_model_that_diverges_is_an_error(public: Callable[..., Study], three: Any) -> None:
    study = public(learning_rate=1e200, l2=1e200)
    rounds = begun(study, three)
    state = next_state(rounds, study, started(rounds, study))

    with pytest.raises(CoordinationError, match=r"the model diverged in round 2; lower training\."):
        next_state(rounds, study, state)
