from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun
from fedward.server.errors import CoordinationError
from fedward.server.run_options import RunOptions
from fedward.server.server_app import make_server_app
from fedward.simulations.federation import SimulatedSite

MakeGrid = Callable[..., Any]
MakeOptions = Callable[..., RunOptions]
MakeSites = Callable[..., list[SimulatedSite]]


def test_it_runs_the_study_and_hands_over_the_model(
    study: Study, make_grid: MakeGrid, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    completed: list[CompletedRun] = []
    rounds: list[int] = []
    app = make_server_app(
        study,
        options=make_options(study=study),
        on_completed=completed.append,
        on_round=lambda state: rounds.append(state.round),
    )
    make_grid([site.vault().answer for site in make_sites(study)]).serve(app)

    assert [run.state.round for run in completed] == [study.training.rounds]
    assert rounds == list(range(study.training.rounds + 1))


def test_a_run_that_fails_is_not_completed(
    study: Study, make_grid: MakeGrid, make_options: MakeOptions
) -> None:
    completed: list[CompletedRun] = []
    app = make_server_app(study, options=make_options(timeout=0.01), on_completed=completed.append)

    with pytest.raises(CoordinationError, match="0 of 3 sites"):
        make_grid([]).serve(app)
    assert completed == []
