"""Runs a federation under Flower's own simulation engine, unchanged apps and all.

For comparison and for confidence: it takes seconds to start. Any of Flower's worker processes may
serve any site, so each keeps its own copy of a site's vault: replay protection and the gate's
count then hold per process. The coordinator's log, from which epsilon is accounted, is complete.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

from flwr.app import Context
from flwr.serverapp import ServerApp

from fedward.client.courier.client_app import AnswerFrame, make_client_app
from fedward.client.vault.vault import Vault
from fedward.simulations.engines.node_numbers import site_number_of
from fedward.simulations.federation import SimulatedSite

_vaults: dict[tuple[str, int], Vault] = {}


class FlowerEngine:
    """Flower's ``run_simulation`` with its Ray backend."""

    name = "flower"

    def __init__(self, *, cpus_per_client: float = 1.0) -> None:
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._cpus_per_client = cpus_per_client

    def run(self, server_app: ServerApp, sites: Sequence[SimulatedSite]) -> None:
        """Run both apps; an error of the ServerApp is raised here."""
        from flwr.simulation import run_simulation

        run_simulation(
            server_app=server_app,
            client_app=make_client_app(_VaultPerProcess(tuple(sites))),
            num_supernodes=len(sites),
            backend_config={"client_resources": {"num_cpus": self._cpus_per_client}},
        )

    def close(self) -> None:
        """Flower ends its own processes."""


class _VaultPerProcess:
    """Finds or builds a site's vault in whichever worker process a message arrives."""

    def __init__(self, sites: tuple[SimulatedSite, ...]) -> None:
        self._federation = uuid.uuid4().hex
        self._sites = sites

    def __call__(self, context: Context) -> AnswerFrame:
        number = site_number_of(context)
        key = (self._federation, number)
        if key not in _vaults:
            _vaults[key] = self._sites[number].vault()
        return _vaults[key].answer
