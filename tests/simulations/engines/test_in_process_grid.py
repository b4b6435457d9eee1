from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from flwr.app import Context, Message

from fedward.client.courier.client_app import make_client_app
from fedward.client.vault.vault import Vault
from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun, RunOptions
from fedward.server.server_app import make_server_app
from fedward.server.sum_rounds import CoordinationError
from fedward.simulations.engines.in_process_grid import InProcessGrid
from fedward.simulations.engines.node_numbers import site_number_of
from fedward.simulations.federation import SimulatedSite

MakeSites = Callable[..., list[SimulatedSite]]
OPTIONS = RunOptions(run_id="run", expected_sites=3)


class BackwardsGrid(InProcessGrid):
    """Asks the last site first."""

    def execute(self, messages: Sequence[Message]) -> Iterable[Message]:
        return super().execute(list(reversed(messages)))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        return super().send_and_receive(messages, timeout=timeout)[::-1]


def completed_on(grid_type: type[InProcessGrid], study: Study, vaults: list[Vault]) -> CompletedRun:
    completed: list[CompletedRun] = []
    app = make_client_app(lambda context: vaults[site_number_of(context)].answer)
    grid_type(app, sites=len(vaults)).serve(
        make_server_app(study, options=OPTIONS, on_completed=completed.append)
    )
    return completed[0]


def test_the_order_of_sites_does_not_change_a_byte(study: Study, make_sites: MakeSites) -> None:
    forwards, backwards = (
        completed_on(grid, study, [site.vault() for site in make_sites(study, noise_seed=5)])
        for grid in (InProcessGrid, BackwardsGrid)
    )

    assert backwards.state.to_frame() == forwards.state.to_frame()
    assert backwards.records == forwards.records


def test_a_vault_that_crashes_is_an_error_with_its_reason(
    study: Study, make_sites: MakeSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = [site.vault() for site in make_sites(study)]

    def crash(frame: bytes) -> bytes:
        raise MemoryError("no memory for this")

    monkeypatch.setattr(vaults[1], "answer", crash)
    with pytest.raises(CoordinationError, match="no memory for this"):
        completed_on(InProcessGrid, study, vaults)


def test_a_stop_by_the_user_is_no_error_reply(
    study: Study, make_sites: MakeSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = [site.vault() for site in make_sites(study)]

    def stop(frame: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(vaults[1], "answer", stop)
    with pytest.raises(KeyboardInterrupt):
        completed_on(InProcessGrid, study, vaults)


def test_each_node_keeps_its_own_context() -> None:
    seen: list[tuple[int, int]] = []

    def vault_of(context: Context) -> Callable[[bytes], bytes]:
        seen.append((context.node_id, id(context)))
        return bytes

    grid = InProcessGrid(make_client_app(vault_of), sites=2)
    contexts = grid._contexts

    assert len({id(context) for context in contexts.values()}) == 2
    assert seen == []
