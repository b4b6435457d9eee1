"""``fedward simulate``: a multi-hospital private study on one machine, in one command."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(add_completion=False)


class EngineName(StrEnum):
    """How the simulated hospitals are run."""

    IN_PROCESS = "in-process"
    RAY = "ray"
    FLOWER = "flower"


@app.command()
def simulate(
    study: Annotated[
        str | None,
        typer.Argument(help="A study file, or the name of a shipped one [breast_cancer]."),
    ] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with one table a hospital; the built-in data if left out."),
    ] = None,
    sites: Annotated[
        int | None, typer.Option(help="Hospitals to make from the built-in data [4].")
    ] = None,
    epsilon: Annotated[
        list[float] | None,
        typer.Option(help="Compare at this epsilon; repeatable [0.5 1 3 8]. The study's is added."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Seeds for the intervals [5].")
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the hospitals.")] = (
        EngineName.IN_PROCESS
    ),
    ray_address: Annotated[
        str | None, typer.Option(help="A running Ray cluster, host:port or auto.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of all runs [runs].")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this run's folder.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the interrupted run in this folder.")
    ] = None,
    insecure_noise_seed: Annotated[
        int | None,
        typer.Option(help="Reproducible noise. Voids every guarantee; for tests alone."),
    ] = None,
    drop_out: Annotated[
        float | None,
        typer.Option(help="Chance with which a hospital fails one exchange [0].", metavar="RATE"),
    ] = None,
    no_masks: Annotated[
        bool,
        typer.Option("--no-masks", help="Leave out the masks, which the report then tells."),
    ] = False,
    transcript: Annotated[
        bool,
        typer.Option("--transcript", help="Write every message of one training to a file."),
    ] = False,
) -> None:
    """Simulate hospitals that train one model together, and compare the ways to do it.

    STUDY is a study file or the name of a shipped one; breast_cancer if left out.

    Prints one table and writes report.html and results.json to the run's folder.
    """
    # Imported here, so that `fedward --help` does not wait for torch and Flower.
    from fedward.simulations.request import SimulationRequest
    from fedward.simulations.session import simulate_study

    console = Console()
    request = SimulationRequest(
        study=study,
        data=data,
        sites=sites,
        epsilons=tuple(epsilon) if epsilon else None,
        seeds=seeds,
        engine=engine.value,
        ray_address=ray_address,
        runs=runs,
        name=name,
        resume=resume,
        insecure_noise_seed=insecure_noise_seed,
        drop_out=drop_out,
        no_masks=no_masks,
        transcript=transcript,
        command=shlex.join(["fedward", *sys.argv[1:]]),
        now=datetime.now(UTC),
    )
    simulate_study(request, console)
