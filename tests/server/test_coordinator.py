from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedward.client.vault.vault import Vault
from fedward.common.protocol.queries import (
    GradientSumQuery,
    IdentifyQuery,
    LocalUpdateQuery,
    MomentsQuery,
    decode_query,
)
from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun, RunOptions, coordinate
from fedward.server.sum_rounds import CoordinationError, ReleaseRecord
from fedward.server.training.state import TrainingState
from fedward.simulations.federation import SimulatedSite
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeGrid = Callable[..., Any]
MakeSites = Callable[..., list[SimulatedSite]]
OPTIONS = RunOptions(run_id="run", expected_sites=3, timeout=30.0)


class KeptCheckpoints:
    """Checkpoints in memory, which remember every call."""

    def __init__(self, kept: tuple[TrainingState, list[ReleaseRecord]] | None = None) -> None:
        self.kept = kept
        self.saved: list[tuple[TrainingState, tuple[ReleaseRecord, ...]]] = []

    def load(self) -> tuple[TrainingState, list[ReleaseRecord]] | None:
        return self.kept

    def save(self, state: TrainingState, new_records: Sequence[ReleaseRecord]) -> None:
        before = self.kept[1] if self.kept else []
        self.kept = (state, [*before, *new_records])
        self.saved.append((state, tuple(new_records)))


@pytest.fixture
def grid_of(make_grid: MakeGrid, make_sites: MakeSites) -> Callable[..., Any]:
    """A grid whose nodes are true vaults of three sites."""

    def make(study: Study, *, noise_seed: int | None = 1, **options: Any) -> Any:
        vaults: list[Vault] = [site.vault() for site in make_sites(study, noise_seed=noise_seed)]
        return make_grid([vault.answer for vault in vaults], **options)

    return make


def queries_of(grid: Any) -> list[Any]:
    """What one site was asked, in order."""
    return [decode_query(frame)[0] for frame in grid.frames[::3]]


def test_a_run_identifies_then_scales_then_trains(
    study: Study, grid_of: Callable[..., Any]
) -> None:
    grid = grid_of(study)
    run = coordinate(grid, study, options=OPTIONS)
    queries = queries_of(grid)

    assert [type(query) for query in queries] == [
        IdentifyQuery,
        MomentsQuery,
        *[GradientSumQuery] * study.training.rounds,
    ]
    assert [query.round for query in queries[1:]] == list(range(study.training.rounds + 1))
    assert {query.attempt for query in queries[1:]} == {1}
    assert {query.roster for query in queries[1:]} == {("site-0", "site-1", "site-2")}
    assert {(query.run_id, query.study_digest) for query in queries} == {("run", study.digest)}
    assert run.state.round == study.training.rounds
    assert run.state.logged == len(run.records) == 3 * (1 + study.training.rounds)


def test_a_local_study_asks_for_updates(local_study: Study, grid_of: Callable[..., Any]) -> None:
    grid = grid_of(local_study)
    coordinate(grid, local_study, options=OPTIONS)

    assert {type(query) for query in queries_of(grid)[2:]} == {LocalUpdateQuery}


def test_public_ranges_ask_for_no_moments(
    make_study: MakeStudy, grid_of: Callable[..., Any]
) -> None:
    study = make_study(scaling={"method": "public_range"})
    grid = grid_of(study)
    run = coordinate(grid, study, options=OPTIONS)

    assert MomentsQuery not in {type(query) for query in queries_of(grid)}
    assert run.state.center.tolist() == [0.0] * 3
    assert run.state.scale.tolist() == [1.0] * 3


def test_each_round_asks_at_the_parameters_of_the_last(
    study: Study, grid_of: Callable[..., Any]
) -> None:
    grid = grid_of(study)
    states: list[TrainingState] = []
    coordinate(grid, study, options=OPTIONS, on_round=states.append)
    asked = [decode_query(frame)[1] for frame in grid.frames[6::3]]

    assert [state.round for state in states] == list(range(study.training.rounds + 1))
    for state, arrays in zip(states, asked, strict=False):
        assert arrays["parameters"].tolist() == state.parameters.tolist()
        assert arrays["center"].tolist() == states[0].center.tolist()
        assert arrays["scale"].tolist() == states[0].scale.tolist()
    assert len({state.parameters.tobytes() for state in states}) == len(states)


def test_the_order_of_replies_does_not_change_the_model(
    study: Study, grid_of: Callable[..., Any]
) -> None:
    plain, shuffled = (
        coordinate(grid_of(study, order=order), study, options=OPTIONS)
        for order in (None, (2, 0, 1))
    )

    assert shuffled.state.to_frame() == plain.state.to_frame()
    assert shuffled.records == plain.records


def test_the_model_seed_chooses_where_a_model_begins(
    make_study: MakeStudy, grid_of: Callable[..., Any]
) -> None:
    study = make_study(model={"name": "mlp", "options": {"hidden": [4]}})
    starts = []
    for seed in (0, 0, 1):
        states: list[TrainingState] = []
        coordinate(
            grid_of(study),
            study,
            options=replace(OPTIONS, model_seed=seed),
            on_round=states.append,
        )
        starts.append(states[0].parameters.tobytes())

    assert starts[0] == starts[1] != starts[2]


def test_every_round_is_kept_with_its_own_log_lines(
    study: Study, grid_of: Callable[..., Any]
) -> None:
    checkpoints = KeptCheckpoints()
    run = coordinate(grid_of(study), study, options=OPTIONS, checkpoints=checkpoints)

    assert [state.round for state, _ in checkpoints.saved] == list(range(5))
    assert [{record.round for record in new} for _, new in checkpoints.saved] == [
        {number} for number in range(5)
    ]
    logged = 0
    for state, new in checkpoints.saved:
        logged += len(new)
        assert state.logged == logged
    assert checkpoints.kept is not None
    assert tuple(checkpoints.kept[1]) == run.records


def test_a_finished_run_is_resumed_without_asking_for_anything(
    study: Study, grid_of: Callable[..., Any]
) -> None:
    checkpoints = KeptCheckpoints()
    run = coordinate(grid_of(study), study, options=OPTIONS, checkpoints=checkpoints)
    grid = grid_of(study)
    states: list[TrainingState] = []
    again = coordinate(
        grid, study, options=OPTIONS, checkpoints=checkpoints, on_round=states.append
    )

    assert again.state.to_frame() == run.state.to_frame()
    assert again.records == run.records
    assert {type(query) for query in queries_of(grid)} == {IdentifyQuery}
    assert [state.round for state in states] == [study.training.rounds]


@pytest.mark.parametrize("change", [{"run_id": "other"}, {"study_digest": "f" * 64}])
def test_a_checkpoint_of_another_run_or_study_is_not_continued(
    study: Study, grid_of: Callable[..., Any], change: dict[str, str]
) -> None:
    checkpoints = KeptCheckpoints()
    coordinate(grid_of(study), study, options=OPTIONS, checkpoints=checkpoints)
    assert checkpoints.kept is not None
    state, records = checkpoints.saved[2][0], checkpoints.kept[1][:9]
    foreign = KeptCheckpoints((replace(state, **change), records))
    grid = grid_of(study)

    with pytest.raises(CoordinationError, match="checkpoint is of another run"):
        coordinate(grid, study, options=OPTIONS, checkpoints=foreign)
    assert foreign.saved == []
    assert {type(query) for query in queries_of(grid)} <= {IdentifyQuery}


def test_a_refusal_stops_the_run_and_keeps_the_rounds_before_it(
    study: Study, make_grid: MakeGrid, make_sites: MakeSites
) -> None:
    vaults = [site.vault() for site in make_sites(study)]
    asked: list[bytes] = []

    def failing(frame: bytes) -> bytes:
        asked.append(frame)
        # Identified, scaled and trained once; then it is asked what it does not approve of.
        return vaults[1].answer(frame if len(asked) < 4 else frame[:-1])

    checkpoints = KeptCheckpoints()
    grid = make_grid([vaults[0].answer, failing, vaults[2].answer])
    with pytest.raises(CoordinationError, match=r"site-1 refused \(malformed\)"):
        coordinate(grid, study, options=OPTIONS, checkpoints=checkpoints)

    assert checkpoints.kept is not None
    assert checkpoints.kept[0].round == 1
    assert len(checkpoints.kept[1]) == 6


def test_without_noise_it_is_gradient_descent_on_all_patients_together(
    make_study: MakeStudy, make_grid: MakeGrid, make_sites: MakeSites
) -> None:
    study = make_study(
        scaling={"method": "public_range"},
        training={"method": "distributed", "rounds": 12, "learning_rate": 2.0, "momentum": 0.6},
    )
    sites = make_sites(study, protection=Unprotected(largest_site=100))
    run = coordinate(make_grid([site.vault().answer for site in sites]), study, options=OPTIONS)

    weights, velocity = np.zeros(4), np.zeros(4)
    for _ in range(12):
        total = np.zeros(4)
        for cohort in (site.cohort for site in sites):
            rows = np.hstack([cohort.features, np.ones((len(cohort.features), 1))])
            by_row = (1 / (1 + np.exp(-rows @ weights)) - cohort.target)[:, None] * rows
            counts = np.diff(cohort.offsets)
            total += (np.add.reduceat(by_row, cohort.offsets[:-1]) / counts[:, None]).sum(axis=0)
        velocity = 0.6 * velocity + total / study.cohort.expected_patients
        weights = weights - 2.0 * velocity

    np.testing.assert_allclose(run.state.parameters, weights, atol=1e-7)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("average_last", [1, 2])
def test_a_model_that_diverges_is_told_and_the_round_before_it_kept(
    make_study: MakeStudy, grid_of: Callable[..., Any], average_last: int
) -> None:
    study = make_study(
        training={
            "method": "distributed",
            "rounds": 9,
            "learning_rate": 1e60,
            "l2": 1e60,
            "average_last": average_last,
        }
    )
    checkpoints = KeptCheckpoints()

    with pytest.raises(CoordinationError, match=r"diverged in round 4; lower training\."):
        coordinate(grid_of(study), study, options=OPTIONS, checkpoints=checkpoints)
    assert checkpoints.kept is not None
    assert checkpoints.kept[0].round == 3
    assert np.isfinite(checkpoints.kept[0].parameters).all()


def test_a_completed_run_is_a_state_and_its_log(study: Study, grid_of: Callable[..., Any]) -> None:
    run = coordinate(grid_of(study), study, options=OPTIONS)

    assert isinstance(run, CompletedRun)
    assert {record.site for record in run.records} == {"site-0", "site-1", "site-2"}
    assert all(record.executed is not None for record in run.records)
