"""The coordinator as a Flower ServerApp (Message API); the same app runs on every grid."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun, OnRound, coordinate
from fedward.server.run_options import RunOptions
from fedward.server.training.checkpoints import Checkpoints


def make_server_app(
    study: Study,
    *,
    options: RunOptions,
    on_completed: Callable[[CompletedRun], None],
    checkpoints: Checkpoints | None = None,
    on_round: OnRound | None = None,
) -> ServerApp:
    """Build the ServerApp of one run; ``on_completed`` receives the trained model."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001 (Flower's signature)
        on_completed(
            coordinate(grid, study, options=options, checkpoints=checkpoints, on_round=on_round)
        )

    return app
