from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.common.study.definition import Study
from fedward.server.errors import CoordinationError
from fedward.server.run_options import RunOptions
from fedward.simulations.drop_outs import DropOuts
from fedward.simulations.engines.flower_engine import FlowerEngine
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedSite, train

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture(autouse=True)
def _needs_ray() -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")


def test_flowers_own_simulation_gives_the_same_model_and_log(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    """With masks: all vaults live in one worker process, or sessions would be unknown."""
    in_process, under_flower = (
        train(
            study,
            make_sites(study, noise_seed=3, count=5),
            engine=engine,
            options=make_options(5, study=study, timeout=120.0),
        )
        for engine in (InProcessEngine(), FlowerEngine())
    )

    assert under_flower.state.to_frame() == in_process.state.to_frame()
    assert under_flower.records == in_process.records
    assert {line.masked for line in under_flower.records} == {True}


def test_sites_that_fail_are_left_out_there_too(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    study = make_study(privacy={"spare_attempts": 3})
    in_process, under_flower = (
        train(
            study,
            make_sites(study, noise_seed=3, count=5, drop_outs=DropOuts(rate=0.15, seed=2)),
            engine=engine,
            options=make_options(5, study=study, timeout=120.0, rejoin_after=1),
        )
        for engine in (InProcessEngine(), FlowerEngine())
    )

    assert under_flower.state.lost > 0
    assert under_flower.state.to_frame() == in_process.state.to_frame()


def test_a_refusal_comes_through(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    sites = make_sites(study, policy={"epsilon_cap": 0.1})

    with pytest.raises(CoordinationError, match=r"refused \(budget_exceeded\)"):
        train(study, sites, engine=FlowerEngine(), options=make_options(study=study, timeout=120.0))
