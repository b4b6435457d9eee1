"""Plausible experiment results: the shape of a real run, with numbers from a fixed generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fedward.simulations.results import (
    ArmKind,
    ArmResult,
    CrossCheck,
    ExperimentResult,
    RoundPoint,
    SeedResult,
    SiteSummary,
)
from fedward.simulations.summaries import Predictions, build_arm, metrics_of

ROUNDS = 20
DELTA = 1e-5
# Kind, words of the label, how well it separates the classes without noise and at epsilon 1.
KINDS: tuple[tuple[ArmKind, str, float, float | None], ...] = (
    ("alone", "Each hospital alone", 2.9, None),
    ("pooled", "Pooled, not private", 4.0, None),
    ("federated", "Federated, not private", 3.95, None),
    ("pooled_private", "Pooled, DP", 3.9, 0.5),
    ("federated_local", "Federated, DP-SGD at each site", 3.8, 2.0),
    ("federated_distributed", "Federated, distributed DP", 3.9, 0.6),
)


def make_result(
    *,
    sites: int = 4,
    seeds: int = 3,
    epsilons: tuple[float, ...] = (0.5, 1.0, 3.0, 8.0),
    title: str = "Malignant or benign? Breast masses from fine-needle aspirates",
    insecure: int | None = None,
    one_class: bool = False,
    masked: bool = False,
) -> ExperimentResult:
    """An experiment over all six kinds; ``one_class`` leaves AUROC and others undefined."""
    generator = np.random.default_rng(7)
    held_out = [12 + (23 * site) % 41 for site in range(sites)]
    shares = [0.2 + 0.5 * ((site * 0.618) % 1) for site in range(sites)]
    names = [f"hospital_{chr(97 + i) if sites <= 26 else i}" for i in range(sites)]
    arms = []
    for kind, words, best, loss in KINDS:
        for epsilon in (None,) if loss is None else epsilons:
            separation = best - (loss / epsilon if loss and epsilon else 0.0)
            label = words if epsilon is None else f"{words}, ε = {epsilon:g}"
            arms.append(
                _arm(
                    generator, kind, label, epsilon,
                    separation=max(0.4, separation), names=names, held_out=held_out,
                    shares=[0.0] * sites if one_class else shares, seeds=seeds,
                )
            )  # fmt: skip
    return ExperimentResult(
        study_name="breast_cancer",
        study_title=title,
        study_digest="3f" * 32,
        data_description=(
            "The data are scikit-learn's embedded breast-cancer records, dealt to hospitals of "
            "unequal size and different case mix."
        ),
        training_description="Logistic regression, 20 rounds of full batches with momentum.",
        engine="in-process",
        seeds=list(range(seeds)),
        sites=[
            SiteSummary(
                name=name,
                training_patients=4 * size,
                held_out_patients=size,
                training_positive_share=share,
            )
            for name, size, share in zip(names, held_out, shares, strict=True)
        ],
        arms=arms,
        privacy_unit="patient",
        delta=DELTA,
        clip=1.0,
        colluding=1,
        insecure_noise_seed=insecure,
        notes=[
            "Held-out figures were computed by the simulation, outside the privacy budget.",
            "Hospitals are simulated on one machine; their records never mix when federated.",
        ],
        versions={"fedward": "0.1.0", "flwr": "1.41.0", "numpy": "2.4.6", "torch": "2.13.0"},
        command="fedward simulate studies/breast_cancer.toml --seeds 3 --epsilons 0.5,1,3,8",
        started="2025-11-21 09:30 UTC",
        seconds=41.7,
        threshold=0.5,
        masked=masked,
    )


def _arm(
    generator: np.random.Generator,
    kind: ArmKind,
    label: str,
    epsilon: float | None,
    *,
    separation: float,
    names: list[str],
    held_out: list[int],
    shares: list[float],
    seeds: int,
) -> ArmResult:
    results, runs, predictions = [], [], []
    for seed in range(seeds):
        by_site = {}
        parts: list[Predictions] = []
        for name, size, share in zip(names, held_out, shares, strict=True):
            target = (generator.random(size) < share).astype(np.float64)
            logit = separation * (target - 0.5) * 2 * generator.lognormal(0, 0.3, size)
            logit += generator.normal(0, 1.6, size)
            part = (target, 1 / (1 + np.exp(-logit)))
            by_site[name] = metrics_of(*part, threshold=0.5)
            parts.append(part)
        together = (
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
        )
        overall = metrics_of(*together, threshold=0.5)
        predictions.append(together)
        results.append(
            SeedResult(
                seed=seed,
                overall=overall,
                by_site=by_site,
                seconds=0.4 + float(generator.random()),
                model_digest="ab" * 32,
            )
        )
        spent = None if epsilon is None else epsilon * 0.9996
        runs.append(
            []
            if kind == "alone"
            else [
                RoundPoint(
                    round=number,
                    accuracy=overall.accuracy - 0.35 * math.exp(-number / 4),
                    auroc=None
                    if overall.auroc is None
                    else overall.auroc - 0.4 * math.exp(-number / 3),
                    log_loss=(overall.log_loss or 0) + 0.5 * math.exp(-number / 5),
                    epsilon=None if spent is None else spent * math.sqrt(number / ROUNDS),
                )
                for number in range(1, ROUNDS + 1)
            ]
        )
    accounted = None if epsilon is None else epsilon * 0.9996
    shared = kind == "federated_distributed"
    return build_arm(
        kind=kind,
        label=label,
        seeds=results,
        rounds=runs,
        predictions=predictions,
        bins=10,
        target_epsilon=epsilon,
        epsilon=accounted,
        epsilon_alone=None if accounted is None else accounted * (1.94 if shared else 1.0),
        delta=None if epsilon is None else DELTA,
        cross_check=None
        if accounted is None
        else CrossCheck(
            prv_low=accounted - 0.004, prv_high=accounted + 0.006, rdp=accounted * 1.08
        ),
    )


@pytest.fixture(scope="session")
def experiment() -> Callable[..., ExperimentResult]:
    """The maker of results."""
    return make_result
