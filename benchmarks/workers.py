"""Work in other processes: a pool with progress, and one fresh process for one measurement."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

Watch = Callable[[int, int], None]
"""Is told how many parts of a benchmark are done, and of how many."""


def unwatched(done: int, total: int) -> None:
    """Watch nothing."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person may choose about a run of the benchmarks.

    ``processes`` serve the benchmarks of accuracy; those of time always have the machine to
    themselves. ``heart_disease`` is the folder of the four UCI files.
    """

    processes: int = 2
    heart_disease: Path = Path(__file__).parents[2] / "shared" / "data" / "heart_disease"
    watch: Watch = unwatched


def mapped(function: Callable[[T], R], tasks: Sequence[T], settings: Settings) -> list[R]:
    """Results in the order of ``tasks``; the first error ends it all and is raised."""
    with ProcessPoolExecutor(
        settings.processes, mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                settings.watch(done, len(tasks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def in_fresh_process(function: Callable[[T], R], task: T) -> R:
    """Call the function in a new, quiet, single-threaded process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_quiet) as pool:
        return pool.submit(function, task).result()


def _quiet() -> None:
    _one_thread()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _one_thread() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
