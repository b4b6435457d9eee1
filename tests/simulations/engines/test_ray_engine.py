from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fedward.client.vault.gate import SitePolicy
from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.server.coordinator import RunOptions
from fedward.server.sum_rounds import CoordinationError
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedSite, train
from fedward.simulations.unprotected import Unprotected

if TYPE_CHECKING:
    from fedward.simulations.engines.ray_engine import RayEngine

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
KNOWN_SITES = frozenset(f"site-{number}" for number in range(10))
OPTIONS = RunOptions(run_id="run", expected_sites=3)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.mark.parametrize("local", [False, True])
def test_it_gives_the_bytes_of_the_in_process_engine(
    make_study: MakeStudy, make_sites: MakeSites, ray_engine: RayEngine, local: bool
) -> None:
    study = make_study(local=local)
    in_process, over_ray = (
        train(study, make_sites(study, noise_seed=3), engine=engine, options=OPTIONS)
        for engine in (InProcessEngine(), ray_engine)
    )

    assert over_ray.state.to_frame() == in_process.state.to_frame()
    assert over_ray.records == in_process.records


def test_more_sites_than_actors_are_dealt_out(
    study: Study, make_sites: MakeSites, ray_engine: RayEngine
) -> None:
    options = replace(OPTIONS, expected_sites=7)
    in_process, over_ray = (
        train(study, make_sites(study, noise_seed=3, count=7), engine=engine, options=options)
        for engine in (InProcessEngine(), ray_engine)
    )

    assert over_ray.state.to_frame() == in_process.state.to_frame()
    assert over_ray.records == in_process.records


def test_a_new_run_has_new_ledgers(
    study: Study, make_sites: MakeSites, ray_engine: RayEngine
) -> None:
    sites = make_sites(study, protection=Unprotected(largest_site=100))
    first, second = (train(study, sites, engine=ray_engine, options=OPTIONS) for _ in range(2))

    assert first.state.to_frame() == second.state.to_frame()


def test_a_refusal_comes_through(
    study: Study, make_sites: MakeSites, ray_engine: RayEngine
) -> None:
    sites = make_sites(study, policy=SitePolicy(known_sites=KNOWN_SITES, epsilon_cap=0.1))

    with pytest.raises(CoordinationError, match=r"refused \(budget_exceeded\)"):
        train(study, sites, engine=ray_engine, options=OPTIONS)


def test_a_site_that_cannot_take_part_says_so_in_one_sentence(
    make_study: MakeStudy, make_sites: MakeSites, ray_engine: RayEngine
) -> None:
    study = make_study(cohort={"max_patients_per_site": 20})

    with pytest.raises(InputError) as caught:
        train(study, make_sites(study), engine=ray_engine, options=OPTIONS)
    assert str(caught.value).startswith("site-2: has more patients than")
    assert "\n" not in str(caught.value)


def test_noise_differs_between_actors_without_a_seed(
    make_study: MakeStudy, make_sites: MakeSites, ray_engine: RayEngine
) -> None:
    study = make_study(training={"method": "distributed", "rounds": 1, "learning_rate": 1.0})
    runs = [train(study, make_sites(study), engine=ray_engine, options=OPTIONS) for _ in range(2)]

    assert not np.array_equal(runs[0].state.parameters, runs[1].state.parameters)
    digests = [record.release_digest for run in runs for record in run.records]
    assert len(set(digests)) == len(digests)


def printed_by(script: str) -> str:
    """Run in a process and a Ray of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_more_actors_than_cpus_still_run() -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    script = """
import ray
from fedward.simulations.engines.ray_engine import RayEngine
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
engine = RayEngine(actors=3)
print(ray.get([actor.execute.remote([]) for actor in engine._actors], timeout=60))
engine.close()
print(ray.is_initialized())
"""
    # A Ray that was there before the engine is left running.
    assert printed_by(script).split("\n") == ["[[], [], []]", "True"]


def test_an_address_that_nobody_answers_is_an_input_error() -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    script = """
from fedward.common.errors import InputError
from fedward.simulations.engines.ray_engine import RayEngine

try:
    RayEngine(address="127.0.0.1:9")
except InputError as error:
    print(error)
"""
    assert printed_by(script).startswith("--ray-address: 127.0.0.1:9 cannot be reached;")
