from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fedward.common.errors import InputError
from fedward.common.protocol.queries import OpenSessionQuery, encode_query
from fedward.common.study.definition import Study
from fedward.server.errors import CoordinationError
from fedward.server.exchange import Exchange, NoAnswer
from fedward.server.run_options import RunOptions
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.engines.node_numbers import node_of
from fedward.simulations.engines.ray_grid import RayGrid
from fedward.simulations.federation import SimulatedSite, train
from fedward.simulations.unprotected import Unprotected

if TYPE_CHECKING:
    from fedward.simulations.engines.ray_engine import RayEngine

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.mark.parametrize("local", [False, True])
def test_it_gives_the_bytes_of_the_in_process_engine(
    make_study: MakeStudy,
    make_sites: MakeSites,
    ray_engine: RayEngine,
    make_options: MakeOptions,
    local: bool,
) -> None:
    study = make_study(local=local)
    in_process, over_ray = (
        train(
            study, make_sites(study, noise_seed=3), engine=engine, options=make_options(study=study)
        )
        for engine in (InProcessEngine(), ray_engine)
    )

    assert over_ray.state.to_frame() == in_process.state.to_frame()
    assert over_ray.records == in_process.records
    assert over_ray.timings is None


def test_more_sites_than_actors_are_dealt_out(
    study: Study, make_sites: MakeSites, ray_engine: RayEngine, make_options: MakeOptions
) -> None:
    in_process, over_ray = (
        train(
            study,
            make_sites(study, noise_seed=3, count=7),
            engine=engine,
            options=make_options(7, study=study),
        )
        for engine in (InProcessEngine(), ray_engine)
    )

    assert over_ray.state.to_frame() == in_process.state.to_frame()
    assert over_ray.records == in_process.records


def test_a_new_run_has_new_ledgers(
    study: Study, make_sites: MakeSites, ray_engine: RayEngine, make_options: MakeOptions
) -> None:
    sites = make_sites(study, protection=Unprotected(largest_site=100))
    first, second = (
        train(study, sites, engine=ray_engine, options=make_options()) for _ in range(2)
    )

    assert first.state.to_frame() == second.state.to_frame()


def test_a_refusal_comes_through(
    study: Study, make_sites: MakeSites, ray_engine: RayEngine, make_options: MakeOptions
) -> None:
    sites = make_sites(study, policy={"epsilon_cap": 0.1})

    with pytest.raises(CoordinationError, match=r"refused \(budget_exceeded\)"):
        train(study, sites, engine=ray_engine, options=make_options(study=study))


def test_a_site_that_cannot_take_part_says_so_in_one_sentence(
    make_study: MakeStudy, make_sites: MakeSites, ray_engine: RayEngine, make_options: MakeOptions
) -> None:
    study = make_study(cohort={"max_patients_per_site": 20})

    with pytest.raises(InputError) as caught:
        train(study, make_sites(study), engine=ray_engine, options=make_options(study=study))
    assert str(caught.value).startswith("site-2: has more")
    assert "\n" not in str(caught.value)


def test_noise_differs_between_actors_without_a_seed(
    make_study: MakeStudy, make_sites: MakeSites, ray_engine: RayEngine, make_options: MakeOptions
) -> None:
    study = make_study(training={"method": "distributed", "rounds": 1, "learning_rate": 1.0})
    runs = [
        train(study, make_sites(study), engine=ray_engine, options=make_options(study=study))
        for _ in range(2)
    ]

    assert not np.array_equal(runs[0].state.parameters, runs[1].state.parameters)
    digests = [record.release_digest for run in runs for record in run.records]
    assert None not in digests
    assert len(set(digests)) == len(digests)


def process_of(engine: RayEngine, actor: int) -> int:
    import ray

    found: int = ray.get(engine._actors[actor].__ray_call__.remote(lambda _: os.getpid()))
    return found


def test_sites_of_a_killed_process_are_left_out_and_the_next_run_has_them_again(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions, ray_engine: RayEngine
) -> None:
    study = make_study(privacy={"spare_attempts": 1})
    options = make_options(7, study=study, rejoin_after=1)

    def kill(state: Any) -> None:
        if state.round == 2:
            os.kill(process_of(ray_engine, 1), signal.SIGKILL)

    sites = make_sites(study, noise_seed=3, count=7)
    run = train(study, sites, engine=ray_engine, options=options, on_round=kill)
    failed = [line for line in run.records if line.failure]

    # Sites of odd numbers lived in the second of two processes.
    assert [(line.site, line.round, line.attempt) for line in failed] == [
        ("site-1", 3, 1),
        ("site-3", 3, 1),
        ("site-5", 3, 1),
    ]
    assert all(line.failure and "process is gone" in line.failure for line in failed)
    assert [line.site for line in run.records if (line.round, line.attempt) == (3, 2)] == [
        "site-0",
        "site-2",
        "site-4",
        "site-6",
    ]
    assert (run.state.round, run.state.lost) == (4, 1)
    # Their ledgers are gone, so they do not come back in this run.
    assert run.state.session == 1
    again = train(study, sites, engine=ray_engine, options=options)
    assert [line.failure for line in again.records] == [None] * len(again.records)


def test_a_process_killed_while_it_computes_is_an_error_reply(
    make_sites: MakeSites, study: Study, make_options: MakeOptions, ray_engine: RayEngine
) -> None:
    """All messages are with the actors when one of them dies."""
    import ray

    sites = make_sites(study, count=2)
    ray.get(
        [
            actor.open.remote({number: site}, 2)
            for number, (actor, site) in enumerate(zip(ray_engine._actors, sites, strict=True))
        ]
    )
    victim = process_of(ray_engine, 1)
    # The actor is busy with this when the question arrives, and never comes to it.
    ray_engine._actors[1].__ray_call__.remote(lambda _: time.sleep(600))
    grid = RayGrid(ray_engine._actors, sites=2)
    question = encode_query(
        OpenSessionQuery(
            run_id="run",
            study_digest=study.digest,
            session=1,
            signed_roster=make_options(2).signed_roster,
        ),
        {},
    )
    heard: dict[int, bytes | NoAnswer] = {}

    def on_reply(node: int, reply: bytes | NoAnswer) -> None:
        heard[node] = reply
        if len(heard) == 1:
            os.kill(victim, signal.SIGKILL)

    exchange = Exchange(grid, timeout=60.0, poll_seconds=0.01)
    assert exchange.node_ids() == [node_of(0), node_of(1)]
    exchange.ask(question, exchange.node_ids(), on_reply, most_bytes=10**6)

    assert set(heard) == {node_of(0), node_of(1)}
    assert isinstance(heard[node_of(0)], bytes)
    assert heard[node_of(1)] == NoAnswer("ActorDiedError: the site's process is gone")
    assert exchange.node_ids() == [node_of(0)]


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
print(ray.get([actor.open.remote({}, 0) for actor in engine._actors], timeout=60))
engine.close()
print(ray.is_initialized())
"""
    # A Ray that was there before the engine is left running.
    assert printed_by(script).split("\n") == ["[None, None, None]", "True"]


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
