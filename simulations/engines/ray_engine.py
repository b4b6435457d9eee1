"""Runs a federation over a pool of Ray actors, on this machine or on a cluster.

Each site lives in one actor for the whole run, so its vault, its ledger and its session keys have
one owner, as at a hospital. (Flower's own Ray backend gives any client to any actor, and runs at
most ``min(32, cpus + 4)`` at once.) An actor whose process or machine dies takes its sites with it
to the end of the run: their ledgers are gone, and a new vault would answer what was answered.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Sequence
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

from fedward.client.courier.client_app import make_client_app
from fedward.common.errors import FedwardError, InputError
from fedward.simulations.drop_outs import SimulatedVault
from fedward.simulations.engines.in_process_grid import run_client_app
from fedward.simulations.engines.node_numbers import FIRST_NODE, node_context, site_number_of
from fedward.simulations.engines.ray_grid import RayGrid
from fedward.simulations.federation import SimulatedSite

CONNECT_SECONDS = 5.0


class SiteActor:
    """Holds some sites' vaults; the class that Ray makes actors of."""

    def __init__(self) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        # Actors share the cores; more threads each would only contend.
        torch.set_num_threads(1)
        threadpool_limits(1)
        self._vaults: dict[int, SimulatedVault] = {}
        self._client_app = make_client_app(
            lambda context: self._vaults[site_number_of(context)].answer
        )
        self._sites = 0

    def open(self, sites: dict[int, SimulatedSite], total: int) -> None:
        """Build the vaults of a new run; those of the last run are dropped."""
        self._vaults = {number: site.vault() for number, site in sites.items()}
        self._sites = total

    def execute(self, message: Message, content: RecordDict) -> Message:
        """Run a message, whose content came by itself, for one of this actor's sites."""
        message.content = content
        number = message.metadata.dst_node_id - FIRST_NODE
        return run_client_app(self._client_app, message, node_context(number, sites=self._sites))


class RayEngine:
    """A Ray actor pool, kept for all runs of an experiment.

    ``address`` joins a running cluster ("auto", or host:port), on whose machines fedward must be
    installed alike; None starts Ray here. ``actors`` defaults to one per CPU that Ray reports.
    """

    name = "ray"

    def __init__(self, *, address: str | None = None, actors: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise InputError(
                source="--engine ray",
                field="",
                problem="needs Ray, which is not installed",
                fix="install the extra with: pip install 'fedward[ray]'",
            ) from error
        self._ray: Any = ray
        self._started = not self._ray.is_initialized()
        if self._started:
            if address is not None:
                _check_reachable(address)
            try:
                self._ray.init(
                    address=address,
                    include_dashboard=False if address is None else None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _unreachable(address) from error
        cpus = self._ray.cluster_resources().get("CPU", 1)
        count = actors or max(1, int(cpus))
        # Actors that ask for more CPUs than there are would be waited for for ever.
        share = min(1.0, math.floor(1e4 * cpus / count) / 1e4)
        self._actor_class: Any = self._ray.remote(num_cpus=share)(SiteActor)
        self._actors: list[Any] = [self._actor_class.remote() for _ in range(count)]

    def run(self, server_app: ServerApp, sites: Sequence[SimulatedSite]) -> None:
        """Deal the sites to the actors and run the app against them.

        An actor that died in an earlier run is replaced. Raises what a site's vault or the app
        raises.
        """
        shares: list[dict[int, SimulatedSite]] = [{} for _ in self._actors]
        for number, site in enumerate(sites):
            shares[number % len(self._actors)][number] = site
        opened = [
            actor.open.remote(share, len(sites))
            for actor, share in zip(self._actors, shares, strict=True)
        ]
        try:
            for index, share in enumerate(shares):
                try:
                    self._ray.get(opened[index])
                except self._ray.exceptions.ActorDiedError:
                    self._actors[index] = self._actor_class.remote()
                    self._ray.get(self._actors[index].open.remote(share, len(sites)))
        except FedwardError as error:
            # Ray puts its traceback around the sentence.
            raise getattr(error, "cause", error) from None
        RayGrid(self._actors, sites=len(sites)).serve(server_app)

    def close(self) -> None:
        """End the actors, and Ray if this engine started it."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        if self._started:
            self._ray.shutdown()


def _check_reachable(address: str) -> None:
    """Try the address first: Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address) from error


def _unreachable(address: str | None) -> InputError:
    return InputError(
        source="--ray-address",
        field=str(address),
        problem="cannot be reached",
        fix="start the cluster with `ray start --head` and give its host:port, or leave it out",
    )
