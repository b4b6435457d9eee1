"""Whole rounds of ours over the in-process grid: real keys, vaults, noise, masks and coordinator.

As with Flower's SecAgg+, training is left out: a site's clipped gradient sum is a constant array.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from pipeline import trained
from secure_sum_setup import COLUMNS, RoundTime, Stopwatch, site_names, study_of

from fedward.client.cohort import Cohort
from fedward.client.vault import patient_sums
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.server import sum_rounds
from fedward.simulations.federation import SimulatedRun

PATIENTS = 2
"""At each site; their records are not looked at."""


@dataclass(frozen=True, kw_only=True)
class RoundsTask:
    """``rounds`` over ``sites``, each a sum of so many ``parameters``.

    ``insecure_noise_seed`` makes two runs comparable, ``masked`` False leaves out the masks.
    ``traced`` measures memory and not time, which tracing takes a lot of.
    """

    sites: int
    parameters: int
    rounds: int
    masked: bool = True
    insecure_noise_seed: int | None = None
    traced: bool = False


@dataclass(frozen=True, kw_only=True)
class OurRounds:
    """Time of each round, and of a site's release by stage.

    ``opening`` is the time before the first round: calibration, vaults, session keys; the first
    round holds the joining of the session. ``sums`` names each round's ring elements (SHA-256),
    ``stages`` holds the mean wall milliseconds of one release, ``release_bytes`` are those of one
    sealed answer, ``peak_bytes`` the most memory of coordinator and sites together if traced.
    """

    opening: RoundTime
    rounds: list[RoundTime]
    sums: list[str]
    stages: dict[str, float]
    release_bytes: int
    peak_bytes: int | None


def our_rounds(task: RoundsTask) -> OurRounds:
    """Run the rounds; RuntimeError unless every attempt was complete, masked and noised."""
    study = study_of(task.parameters, rounds=task.rounds)
    cohort = Cohort(
        features=np.zeros((PATIENTS, COLUMNS)),
        target=np.zeros(PATIENTS),
        offsets=np.arange(PATIENTS + 1),
    )
    cohorts = dict.fromkeys(site_names(task.sites), cohort)
    update = np.full(task.parameters, 1 / np.sqrt(task.parameters))
    times: list[RoundTime] = []
    if task.traced:
        tracemalloc.start()
    with _constant_training(update), _noted_sums() as sums:
        watch = Stopwatch()
        run = trained(
            study,
            cohorts,
            private=True,
            masked=task.masked,
            insecure_noise_seed=task.insecure_noise_seed,
            on_round=lambda _: times.append(watch.lap()),
        )
    peak = tracemalloc.get_traced_memory()[1] if task.traced else None
    tracemalloc.stop()
    _check(run, task)
    return OurRounds(
        opening=times[0],
        rounds=times[1:],
        sums=[_digest(one.total) for one in sums],
        stages=_stages(run),
        release_bytes=max(record.bytes for record in run.records),
        peak_bytes=peak,
    )


@contextmanager
def _constant_training(update: NDArray[np.float64]) -> Iterator[None]:
    def constant(*_: object, **__: object) -> NDArray[np.float64]:
        return update

    with mock.patch.object(patient_sums, "clipped_gradient_sum", constant):
        yield


@contextmanager
def _noted_sums() -> Iterator[list[RunningSum]]:
    """Every sum that the coordinator begins, in order."""
    sums: list[RunningSum] = []

    def begun(length: int | None = None) -> RunningSum:
        sums.append(RunningSum(length))
        return sums[-1]

    with mock.patch.object(sum_rounds, "RunningSum", begun):
        yield sums


def _check(run: SimulatedRun, task: RoundsTask) -> None:
    summed = [
        record
        for record in run.records
        if record.summed and record.executed and record.masked == task.masked
    ]
    if not len(summed) == len(run.records) == task.sites * task.rounds:
        raise RuntimeError(f"{len(summed)} of {task.sites * task.rounds} releases were summed")


def _digest(total: NDArray[np.uint64]) -> str:
    return hashlib.sha256(total.tobytes()).hexdigest()


def _stages(run: SimulatedRun) -> dict[str, float]:
    timings = run.timings or ()
    releases = sum(one.releases for one in timings)
    seconds = {
        "computing": sum(one.seconds_computing for one in timings),
        "noise": sum(one.seconds_in_noise for one in timings),
        "masks": sum(one.seconds_in_masks for one in timings),
        "seal": sum(one.seconds_sealing for one in timings),
    }
    return {stage: 1e3 * spent / releases for stage, spent in seconds.items()}
