"""Runs a federation under Flower's own simulation engine, unchanged apps and all.

For comparison and for confidence: it takes seconds to start. Flower gives any site to any of its
worker processes, but a site's session keys and its ledger have one owner, as at a hospital.
Therefore exactly one worker process runs, which holds all vaults.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import Any

from flwr.app import Context
from flwr.serverapp import ServerApp

from fedward.client.courier.client_app import AnswerFrame, make_client_app
from fedward.simulations.drop_outs import SimulatedVault
from fedward.simulations.engines.node_numbers import site_number_of
from fedward.simulations.federation import SimulatedSite

_vaults: dict[tuple[str, int], SimulatedVault] = {}


class FlowerEngine:
    """Flower's ``run_simulation`` with its Ray backend, of which one worker takes all CPUs."""

    name = "flower"

    def __init__(self) -> None:
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    def run(self, server_app: ServerApp, sites: Sequence[SimulatedSite]) -> None:
        """Run both apps; an error of the ServerApp is raised here."""
        import ray as ray_module
        from flwr.simulation import run_simulation

        ray: Any = ray_module  # it has no types
        # Flower starts as many workers as there is room for, and Ray itself if it is not there.
        cpus = ray.cluster_resources()["CPU"] if ray.is_initialized() else 1
        run_simulation(
            server_app=server_app,
            client_app=make_client_app(_Vaults(tuple(sites))),
            num_supernodes=len(sites),
            backend_config={
                "init_args": {"num_cpus": 1},
                "client_resources": {"num_cpus": cpus},
            },
        )

    def close(self) -> None:
        """Flower ends its own processes."""


class _Vaults:
    """Finds or builds a site's vault in the worker process."""

    def __init__(self, sites: tuple[SimulatedSite, ...]) -> None:
        self._federation = uuid.uuid4().hex
        self._sites = sites

    def __call__(self, context: Context) -> AnswerFrame:
        number = site_number_of(context)
        key = (self._federation, number)
        if key not in _vaults:
            _vaults[key] = self._sites[number].vault()
        return _vaults[key].answer
