"""Rounds of Flower's own SecAgg+, in this process and thread, over the in-process grid.

Flower's shipped ``SecAggPlusWorkflow`` and ``secaggplus_mod``, unchanged, in the legacy NumPyClient
app that they need. The grid calls the clients in turn, so neither Ray's start-up nor polling nor
serialisation by the grid is counted. A client's training returns the same constant array at once,
and the strategy takes the workflow's result as it is.
"""

from __future__ import annotations

import logging
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client import ClientApp, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.common import Parameters, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray
from secure_sum_setup import RoundTime, Stopwatch

from fedward.simulations.engines.in_process_grid import InProcessGrid

CLIPPING_RANGE = 8.0
QUANTIZATION_RANGE = 2**22
MODULUS_RANGE = 2**32
MAX_WEIGHT = 1000.0
"""SecAgg+'s own defaults."""
ALL_SHARES = 1.0
"""A share for every client: every pair of clients has a mask, as in ours."""
THRESHOLD = 2 / 3
"""Of the shares, how many recover a secret."""
PRECISION = 1e-4
"""Of the average; SecAgg+'s own is about 3e-6 here."""

MOST_SECONDS = 900
MOST_BYTES = 20 * 2**30


@dataclass(frozen=True, kw_only=True)
class SecAggTask:
    """``rounds`` of SecAgg+; ``shares`` is its ``num_shares``, a number or :data:`ALL_SHARES`."""

    sites: int
    parameters: int
    shares: int | float
    rounds: int

    @property
    def threshold(self) -> int | float:
        """The ``reconstruction_threshold`` that goes with the shares."""
        if isinstance(self.shares, float):
            return THRESHOLD
        return max(2, round(THRESHOLD * self.shares))


def limited_secagg_rounds(task: SecAggTask) -> list[RoundTime] | str:
    """Run the rounds within limits of time and memory; a sentence if they do not end well.

    For a process of its own, whose memory stays limited.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(MOST_SECONDS)
    try:
        return secagg_rounds(task)
    except (MemoryError, RuntimeError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def _out_of_time(*_: object) -> None:
    raise TimeoutError(f"not done after {MOST_SECONDS} s")


def secagg_rounds(task: SecAggTask) -> list[RoundTime]:
    """Run the rounds; RuntimeError unless each ends with the average that it should."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    update = np.linspace(-1, 1, task.parameters, dtype=np.float32)
    client_app = ClientApp(client_fn=lambda _: _Client(update).to_client(), mods=[secaggplus_mod])
    timed = _TimedWorkflow(
        SecAggPlusWorkflow(
            task.shares,
            task.threshold,
            max_weight=MAX_WEIGHT,
            clipping_range=CLIPPING_RANGE,
            quantization_range=QUANTIZATION_RANGE,
            modulus_range=MODULUS_RANGE,
        )
    )
    strategy = _AsItIs(
        fraction_evaluate=0.0,
        min_fit_clients=task.sites,
        min_available_clients=task.sites,
        initial_parameters=ndarrays_to_parameters([np.zeros(task.parameters, np.float32)]),
    )
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        legacy = LegacyContext(
            context=context, config=ServerConfig(num_rounds=task.rounds), strategy=strategy
        )
        DefaultWorkflow(fit_workflow=timed)(grid, legacy)

    _CopyingGrid(client_app, sites=task.sites).serve(app)
    if len(strategy.averages) != task.rounds:
        raise RuntimeError(f"SecAgg+ completed {len(strategy.averages)} of {task.rounds} rounds")
    for average in strategy.averages:
        if not np.allclose(average, update, rtol=0, atol=PRECISION):
            raise RuntimeError("SecAgg+ gave another average than that of its clients")
    return timed.rounds


class _Client(NumPyClient):
    """Trains for no time."""

    def __init__(self, update: NDArray[np.float32]) -> None:
        self._update = update

    def fit(
        self,
        parameters: list[NDArray[Any]],  # noqa: ARG002
        config: dict[str, Any],  # noqa: ARG002
    ) -> tuple[list[NDArray[Any]], int, dict[str, Any]]:
        return [self._update], int(MAX_WEIGHT), {}


class _AsItIs(FedAvg):
    """Every result holds the workflow's average already, so there is nothing to average."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.averages: list[NDArray[Any]] = []

    def aggregate_fit(
        self,
        server_round: int,  # noqa: ARG002
        results: Sequence[Any],
        failures: Sequence[Any],  # noqa: ARG002
    ) -> tuple[Parameters | None, dict[str, Any]]:
        parameters: Parameters = results[0][1].parameters
        self.averages.append(parameters_to_ndarrays(parameters)[0])
        return parameters, {}


class _TimedWorkflow:
    """A fit workflow under two clocks."""

    def __init__(self, workflow: SecAggPlusWorkflow) -> None:
        self._workflow = workflow
        self.rounds: list[RoundTime] = []

    def __call__(self, grid: Grid, context: Context) -> None:
        watch = Stopwatch()
        self._workflow(grid, context)
        self.rounds.append(watch.lap())


class _CopyingGrid(InProcessGrid):
    """Gives each client its own ConfigRecords: SecAgg+ sends one to all, and its mod empties it."""

    def submit(self, messages: Sequence[Message]) -> None:
        for message in messages:
            records = dict(message.content.items())
            for name, record in records.items():
                if isinstance(record, ConfigRecord):
                    records[name] = ConfigRecord(dict(record))
            message.content = RecordDict(records)
        super().submit(messages)
