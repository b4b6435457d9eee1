from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedward.client.courier.client_app import make_client_app
from fedward.common.protocol.envelope import FIELD, MESSAGE_TYPE, RECORD
from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun
from fedward.server.errors import CoordinationError
from fedward.server.exchange import Exchange
from fedward.server.run_options import RunOptions
from fedward.server.server_app import make_server_app
from fedward.simulations.engines.in_process_grid import InProcessGrid
from fedward.simulations.engines.node_numbers import COORDINATOR_NODE, node_of, site_number_of
from fedward.simulations.federation import SimulatedSite

MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]


class BackwardsGrid(InProcessGrid):
    """Asks the last site first."""

    def ready(self, message_ids: Sequence[str]) -> list[Message]:
        return super().ready(message_ids[::-1])


def completed_on(
    grid_type: type[InProcessGrid], study: Study, vaults: list[Any], options: RunOptions
) -> CompletedRun:
    completed: list[CompletedRun] = []
    app = make_client_app(lambda context: vaults[site_number_of(context)].answer)
    grid_type(app, sites=len(vaults)).serve(
        make_server_app(study, options=options, on_completed=completed.append)
    )
    return completed[0]


def test_the_order_of_sites_does_not_change_a_byte(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    forwards, backwards = (
        completed_on(
            grid,
            study,
            [site.vault() for site in make_sites(study, noise_seed=5)],
            make_options(study=study),
        )
        for grid in (InProcessGrid, BackwardsGrid)
    )

    assert backwards.state.to_frame() == forwards.state.to_frame()
    assert backwards.records == forwards.records


def test_a_vault_that_crashes_is_an_error_with_its_reason(
    study: Study,
    make_sites: MakeSites,
    make_options: MakeOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vaults = [site.vault() for site in make_sites(study)]

    def crash(frame: bytes) -> bytes:
        raise MemoryError("no memory for this")

    monkeypatch.setattr(vaults[1], "answer", crash)
    with pytest.raises(CoordinationError, match="no memory for this"):
        completed_on(InProcessGrid, study, vaults, make_options(study=study))


def test_a_stop_by_the_user_is_no_error_reply(
    study: Study,
    make_sites: MakeSites,
    make_options: MakeOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vaults = [site.vault() for site in make_sites(study)]

    def stop(frame: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(vaults[1], "answer", stop)
    with pytest.raises(KeyboardInterrupt):
        completed_on(InProcessGrid, study, vaults, make_options(study=study))


@pytest.fixture
def echo() -> Callable[..., tuple[InProcessGrid, list[int]]]:
    """A grid whose sites answer with ``size`` bytes, and the numbers of those that did."""

    def make(*, sites: int, size: int = 1) -> tuple[InProcessGrid, list[int]]:
        TaskIdentity.task_id = TaskIdentity.run_id = 1
        TaskIdentity.node_id = COORDINATOR_NODE
        answered: list[int] = []

        def vault_of(context: Context) -> Callable[[bytes], bytes]:
            answered.append(site_number_of(context))
            return lambda frame: bytes(size)

        return InProcessGrid(make_client_app(vault_of), sites=sites), answered

    return make


def pushed(grid: InProcessGrid, sites: int) -> list[str]:
    content = RecordDict({RECORD: ConfigRecord({FIELD: b"question"})})
    return grid.push_messages(
        [
            Message(content, dst_node_id=node_of(number), message_type=MESSAGE_TYPE)
            for number in range(sites)
        ]
    )


def test_each_pull_executes_one_message(echo: Callable[..., Any]) -> None:
    grid, answered = echo(sites=3)
    names = pushed(grid, 3)
    assert answered == []

    for number in range(3):
        (reply,) = grid.pull_messages(names)
        assert reply.metadata.src_node_id == node_of(number)
        assert answered == list(range(number + 1))
    assert grid.pull_messages(names) == []
    assert answered == [0, 1, 2]


def test_only_what_is_asked_for_is_executed(echo: Callable[..., Any]) -> None:
    grid, answered = echo(sites=3)
    names = pushed(grid, 3)

    assert len(grid.pull_messages(names[2:])) == 1
    assert grid.pull_messages(["unknown"]) == []
    assert answered == [2]


def test_nobody_sleeps_while_replies_are_ready(
    echo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sleep(seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")

    monkeypatch.setattr("time.sleep", no_sleep)
    grid, answered = echo(sites=50)
    nodes: list[int] = []
    Exchange(grid, timeout=None, poll_seconds=1.0).ask(
        b"question", grid.get_node_ids(), lambda node, _: nodes.append(node), most_bytes=10
    )

    assert sorted(nodes) == [node_of(number) for number in range(50)]
    assert sorted(answered) == list(range(50))


def test_replies_are_not_kept_for_as_many_sites_as_there_are(echo: Callable[..., Any]) -> None:
    size = 10**6

    def peak(sites: int) -> int:
        grid, answered = echo(sites=sites, size=size)
        gc.collect()
        tracemalloc.start()
        Exchange(grid, timeout=None, poll_seconds=1.0).ask(
            b"question", grid.get_node_ids(), lambda node, reply: None, most_bytes=size
        )
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(answered) == sites
        return most

    few, many = peak(4), peak(64)

    assert size <= few <= 4 * size
    assert many - few < size


def test_each_node_keeps_its_own_context(echo: Callable[..., Any]) -> None:
    grid, _ = echo(sites=2)

    assert len({id(context) for context in grid._contexts.values()}) == 2
