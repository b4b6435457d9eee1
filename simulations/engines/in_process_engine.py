"""Runs a federation in the caller's process and thread."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.serverapp import ServerApp

from fedward.client.courier.client_app import make_client_app
from fedward.client.vault.timings import VaultTimings
from fedward.simulations.engines.in_process_grid import InProcessGrid
from fedward.simulations.engines.node_numbers import site_number_of
from fedward.simulations.federation import SimulatedSite


class InProcessEngine:
    """The default engine: no start-up, no copies, deterministic."""

    name = "in-process"

    def run(
        self, server_app: ServerApp, sites: Sequence[SimulatedSite]
    ) -> tuple[VaultTimings, ...]:
        """Build the vaults, connect them by an in-process grid, run the app."""
        vaults = [site.vault() for site in sites]
        client_app = make_client_app(lambda context: vaults[site_number_of(context)].answer)
        InProcessGrid(client_app, sites=len(sites)).serve(server_app)
        return tuple(vault.timings for vault in vaults)

    def close(self) -> None:
        """Nothing to give back."""
