from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.client.vault.gate import SitePolicy
from fedward.common.study.definition import Study
from fedward.server.coordinator import RunOptions
from fedward.server.sum_rounds import CoordinationError
from fedward.simulations.engines.flower_engine import FlowerEngine
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedSite, train

KNOWN_SITES = frozenset(f"site-{number}" for number in range(10))

MakeSites = Callable[..., list[SimulatedSite]]
OPTIONS = RunOptions(run_id="run", expected_sites=3, timeout=120.0)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture(autouse=True)
def _needs_ray() -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")


def test_flowers_own_simulation_gives_the_same_model_and_log(
    study: Study, make_sites: MakeSites
) -> None:
    in_process, under_flower = (
        train(study, make_sites(study, noise_seed=3), engine=engine, options=OPTIONS)
        for engine in (InProcessEngine(), FlowerEngine())
    )

    assert under_flower.state.to_frame() == in_process.state.to_frame()
    assert under_flower.records == in_process.records


def test_a_refusal_comes_through(study: Study, make_sites: MakeSites) -> None:
    sites = make_sites(study, policy=SitePolicy(known_sites=KNOWN_SITES, epsilon_cap=0.1))

    with pytest.raises(CoordinationError, match=r"refused \(budget_exceeded\)"):
        train(study, sites, engine=FlowerEngine(), options=OPTIONS)
