"""What ``fedward simulate`` was asked for, and what is wrong with it before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fedward.common.errors import InputError

SMALLEST_EPSILON = 0.01
"""Below it the model would be noise, and the accountants' grid too coarse to calibrate."""
LARGEST_EPSILON = 50.0
LARGEST_DROP_OUT = 0.5
"""Above it next to no attempt has all of its answers."""


@dataclass(frozen=True, kw_only=True)
class SimulationRequest:
    """The command line of ``fedward simulate``, parsed."""

    study: str | None
    data: Path | None
    sites: int | None
    epsilons: tuple[float, ...] | None
    seeds: int | None
    engine: str
    ray_address: str | None
    runs: Path | None
    name: str | None
    resume: Path | None
    insecure_noise_seed: int | None
    command: str
    now: datetime
    drop_out: float | None = None
    no_masks: bool = False
    transcript: bool = False


def check_request(request: SimulationRequest) -> None:
    """Refuse options that cannot be meant, alone or together.

    Raises:
        InputError: names the option.
    """
    _check_epsilons(request.epsilons or ())
    _check_noise_seed(request.insecure_noise_seed)
    _check_drop_out(request.drop_out)
    _check_ray_address(request)
    if request.resume is not None:
        _check_nothing_changed(request)


def _check_epsilons(epsilons: tuple[float, ...]) -> None:
    for value in epsilons:
        if not (math.isfinite(value) and SMALLEST_EPSILON <= value <= LARGEST_EPSILON):
            raise InputError(
                source="--epsilon",
                field=f"{value:g}",
                problem=f"is not from {SMALLEST_EPSILON:g} to {LARGEST_EPSILON:g}",
                fix="choose one such as 1.0",
            )


def _check_noise_seed(seed: int | None) -> None:
    if seed is not None and not 0 <= seed < 2**64:
        raise InputError(
            source="--insecure-noise-seed",
            field=str(seed),
            problem="is not from 0 to 2^64 - 1",
            fix="choose one such as 1",
        )


def _check_drop_out(rate: float | None) -> None:
    # Written so that NaN is refused as well.
    if rate is not None and not 0 <= rate <= LARGEST_DROP_OUT:
        raise InputError(
            source="--drop-out",
            field=f"{rate:g}",
            problem=f"is not from 0 to {LARGEST_DROP_OUT:g}",
            fix="choose one such as 0.02",
        )


def _check_ray_address(request: SimulationRequest) -> None:
    if request.ray_address is not None and request.engine != "ray":
        raise InputError(
            source="--ray-address",
            field=request.ray_address,
            problem=f"does not go with --engine {request.engine}",
            fix="add --engine ray",
        )


def _check_nothing_changed(request: SimulationRequest) -> None:
    for option, value in (
        ("STUDY", request.study),
        ("--data", request.data),
        ("--sites", request.sites),
        ("--epsilon", request.epsilons),
        ("--seeds", request.seeds),
        ("--runs", request.runs),
        ("--name", request.name),
        ("--insecure-noise-seed", request.insecure_noise_seed),
        ("--drop-out", request.drop_out),
        ("--no-masks", request.no_masks or None),
        ("--transcript", request.transcript or None),
    ):
        if value is not None:
            raise InputError(
                source="--resume",
                field=option,
                problem="was given, but a resumed run keeps its own",
                fix="leave it out",
            )
