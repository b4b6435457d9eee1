"""Time of one private training step over a plain torch step and over Opacus's modes.

    python benchmarks/private_step.py [--json FILE] [--rounds N]

Everything runs on one thread, in one process, in turns of a few steps each, so that a busy machine
slows all contestants alike; the figure is the 20th percentile of the single steps.

Plain torch and Opacus get their batch ready made. Ours has to select its patients from a cohort
ten times as large, and draws exact discrete Gaussian noise from a cryptographic generator, where
Opacus draws float32 normals from torch's. So each case is measured twice, like for like: with
noise on both sides, and without noise on either ("bare"); a target is met or missed in each. Our
sampler is also timed alone. The plain step is forward, backward and SGD in float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, TensorDataset

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import clipped_gradient_sum
from fedward.common.models.registry import ModelFamily, build_model
from fedward.common.privacy.discrete_gaussian import sample_discrete_gaussian
from fedward.common.privacy.random_source import RandomSource
from fedward.common.study.definition import Model

CLIP = 1.0
NOISE_MULTIPLIER = 1.0
LEARNING_RATE = 0.1
UNITS_PER_CLIP = 2.0**24
STEPS_PER_TURN = 10
OPACUS_MODES = ("hooks", "ghost", "ew", "functorch")
OVER_OPACUS = 3.0

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model and batch, and the highest allowed ratio to the plain step (None: shown only)."""

    name: str
    model: Model
    columns: int
    batch: int
    target: float | None


CASES = (
    Case(
        name="LR 30, batch 512",
        model=Model(name="logistic_regression"),
        columns=30,
        batch=512,
        target=1.3,
    ),
    Case(
        name="MLP 21k, batch 512",
        model=Model(name="mlp", options={"hidden": [128, 64]}),
        columns=100,
        batch=512,
        target=1.5,
    ),
    Case(
        name="MLP 21k, batch 64",
        model=Model(name="mlp", options={"hidden": [128, 64]}),
        columns=100,
        batch=64,
        target=None,
    ),
)


def plain_step(family: ModelFamily, features: torch.Tensor, target: torch.Tensor) -> Step:
    """Forward, backward and SGD in float32."""
    module = family.module(family.initial(0)).float()
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE)
    criterion = torch.nn.BCEWithLogitsLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(module(features), target).backward()
        optimizer.step()

    return step


def opacus_step(
    family: ModelFamily, features: torch.Tensor, target: torch.Tensor, *, mode: str, noise: float
) -> Step:
    """The same step through ``PrivacyEngine.make_private`` in one of its modes."""
    module = copy.deepcopy(family.module(family.initial(0)).float())
    made: tuple[Any, ...] = PrivacyEngine().make_private(
        module=module,
        optimizer=torch.optim.SGD(module.parameters(), lr=LEARNING_RATE),
        data_loader=DataLoader(TensorDataset(features, target), batch_size=len(target)),
        criterion=torch.nn.BCEWithLogitsLoss(),
        noise_multiplier=noise,
        max_grad_norm=CLIP,
        poisson_sampling=False,
        grad_sample_mode=mode,
    )
    private, optimizer = made[0], made[1]
    criterion = made[2] if mode == "ghost" else torch.nn.BCEWithLogitsLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(private(features), target).backward()
        optimizer.step()

    return step


def private_step(
    family: ModelFamily, cohort: Cohort, patients: NDArray[np.int64], *, noise: float
) -> Step:
    """Our whole step: select, clip, sum, noise, descend."""
    parameters = family.initial(0)
    stream = RandomSource.from_os().stream(purpose="benchmark", context=b"private step")

    def step() -> None:
        total = clipped_gradient_sum(family, parameters, cohort, patients, clip=CLIP)
        if noise:
            sigma = noise * UNITS_PER_CLIP
            units = sample_discrete_gaussian(stream, sigma=sigma, size=len(total))
            total += units * (CLIP / UNITS_PER_CLIP)
        parameters[:] -= (LEARNING_RATE / len(patients)) * total

    return step


def noise_draw(size: int) -> Step:
    """Our noise alone: ``size`` exact draws."""
    stream = RandomSource.from_os().stream(purpose="benchmark", context=b"noise")
    sigma = NOISE_MULTIPLIER * UNITS_PER_CLIP
    return lambda: sample_discrete_gaussian(stream, sigma=sigma, size=size)


def contestants(case: Case) -> dict[str, Step]:
    """All steps of a case by name."""
    generator = np.random.default_rng(0)
    family = build_model(case.model, columns=case.columns)
    patients = 10 * case.batch
    cohort = Cohort(
        features=generator.standard_normal((patients, case.columns)),
        target=generator.integers(0, 2, patients).astype(np.float64),
        offsets=np.arange(patients + 1),
    )
    chosen = np.sort(generator.choice(patients, case.batch, replace=False))
    features = torch.from_numpy(cohort.features[chosen]).float()
    target = torch.from_numpy(cohort.target[chosen]).float()
    steps = {
        "plain": plain_step(family, features, target),
        "noise": noise_draw(family.parameter_count),
    }
    for suffix, noise in (("", NOISE_MULTIPLIER), (" bare", 0.0)):
        steps[f"private{suffix}"] = private_step(family, cohort, chosen, noise=noise)
        for mode in OPACUS_MODES:
            steps[f"{mode}{suffix}"] = opacus_step(family, features, target, mode=mode, noise=noise)
    return steps


def interleaved(steps: dict[str, Step], *, rounds: int) -> dict[str, float]:
    """20th percentile of the time of each step in ms, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            for _ in range(STEPS_PER_TURN):
                start = time.perf_counter()
                step()
                elapsed = time.perf_counter() - start
                if turn:  # the first turn warms up
                    times[name].append(elapsed * 1e3)
    return {name: float(np.percentile(values, 20)) for name, values in times.items()}


def measure(*, rounds: int = 40) -> list[dict[str, Any]]:
    """Measure every case; one row each, times in ms."""
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in CASES:
                rows.append(_row(case, interleaved(contestants(case), rounds=rounds)))
    finally:
        torch.set_num_threads(threads)
    return rows


def _row(case: Case, times: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "case": case.name,
        "plain_ms": times["plain"],
        "noise_ms": times["noise"],
        "noise_share": times["noise"] / times["private"],
    }
    for suffix, key in (("", ""), (" bare", "bare_")):
        modes = {mode: times[mode + suffix] for mode in OPACUS_MODES}
        best = min(modes, key=lambda mode: modes[mode])
        private = times[f"private{suffix}"]
        ratio, over = private / times["plain"], modes[best] / private
        row |= {
            f"{key}private_ms": private,
            f"{key}ratio": ratio,
            f"{key}opacus_ms": modes,
            f"{key}best_opacus_mode": best,
            f"{key}best_opacus_ms": modes[best],
            f"{key}opacus_over_ours": over,
        }
        if case.target is not None:
            row[f"{key}ratio_met"] = ratio <= case.target
            row[f"{key}opacus_met"] = over >= OVER_OPACUS
    return row | {
        "target_ratio": case.target,
        "target_opacus_over_ours": None if case.target is None else OVER_OPACUS,
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The rows for a person: with noise on both sides, without on either, and our noise alone."""
    table = Table(title="One private step, one thread, 20th percentile, ms")
    table.add_column("case")
    for heading in ("plain", "private", "ratio", "Opacus", "mode", "Opacus / ours"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_section()
        for key, label in (("", "with noise"), ("bare_", "without noise")):
            table.add_row(
                f"{row['case']}, {label}",
                f"{row['plain_ms']:.3f}",
                f"{row[f'{key}private_ms']:.3f}",
                _judged(row[f"{key}ratio"], row.get(f"{key}ratio_met")),
                f"{row[f'{key}best_opacus_ms']:.3f}",
                row[f"{key}best_opacus_mode"],
                _judged(row[f"{key}opacus_over_ours"], row.get(f"{key}opacus_met")),
            )
        share = f"{row['noise_share']:.0%} of the step"
        table.add_row(f"{row['case']}, our noise alone", "", f"{row['noise_ms']:.3f}", share)
    return table


def _judged(value: float, met: bool | None) -> str:
    return f"{value:.2f}" + ("" if met is None else " met" if met else " MISSED")


def main() -> None:
    """Print the table; with ``--json``, write the rows too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--rounds", type=int, default=40, help="turns of 10 steps (default 40)")
    arguments = parser.parse_args()
    rows = measure(rounds=arguments.rounds)
    Console().print(table_of(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
