"""The progress bar of an experiment: arm, round, epsilon so far, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fedward.simulations.seed_run import OnProgress
from fedward.simulations.seed_run import Progress as RoundProgress


@contextmanager
def progress_bar(console: Console, *, total_rounds: int, done_rounds: int) -> Iterator[OnProgress]:
    """Show rounds of the whole experiment; yields what to call after each completed round."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("starting", total=total_rounds, completed=done_rounds)
    expected: tuple[str, int, int] | None = None

    def show(progress: RoundProgress) -> None:
        nonlocal expected
        arm = progress.arm
        spent = "" if progress.epsilon is None else f", epsilon so far {progress.epsilon:.3f}"
        goal = "" if arm.target_epsilon is None else f" (epsilon {arm.target_epsilon:g})"
        rounds = arm.study.training.rounds
        bar.update(
            task,
            description=f"{arm.label}{goal}: seed {progress.seed}, "
            f"round {progress.round}/{rounds}{spent}",
            # The first call of a training tells the round that it is resumed from.
            advance=1 if (arm.key, progress.seed, progress.round) == expected else progress.round,
        )
        expected = (arm.key, progress.seed, progress.round + 1)

    with bar:
        yield show
