"""Plausible experiment results: the shape of a real run, with numbers from a fixed generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fedward.simulations.results import (
    ArmKind,
    ArmResult,
    ChargedBin,
    ChargedEvaluation,
    ChargedGroup,
    CrossCheck,
    ExperimentResult,
    Figure,
    Metrics,
    RoundPoint,
    SeedResult,
    SiteSummary,
    SumTraffic,
    Traffic,
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
    masked: bool = True,
    drop_out: float = 0.0,
    groups: dict[str, list[int]] | None = None,
    per_site: bool = False,
    counts: bool = True,
    wire: bool = True,
) -> ExperimentResult:
    """An experiment over all six kinds; ``one_class`` leaves AUROC and others undefined.

    ``groups`` are places in the list of sites; ``wire`` False leaves out what the coordinator
    measured and what crossed to it, as in a run without federated ways.
    """
    generator = np.random.default_rng(7)
    held_out = [12 + (23 * site) % 41 for site in range(sites)]
    shares = [0.2 + 0.5 * ((site * 0.618) % 1) for site in range(sites)]
    names = [f"hospital_{chr(97 + i) if sites <= 26 else i}" for i in range(sites)]
    arms = []
    for kind, words, best, loss in KINDS:
        for epsilon in (None,) if loss is None else epsilons:
            separation = best - (loss / epsilon if loss and epsilon else 0.0)
            label = words if epsilon is None else f"{words}, ε = {epsilon:g}"
            arm = _arm(
                generator, kind, label, epsilon,
                separation=max(0.4, separation), names=names, held_out=held_out,
                shares=[0.0] * sites if one_class else shares, seeds=seeds,
            )  # fmt: skip
            if wire and kind.startswith("federated"):
                members = {
                    name: [names[place] for place in places]
                    for name, places in (groups or {"all": list(range(sites))}).items()
                }
                arm = arm.model_copy(
                    update={
                        "traffic": _traffic(sites, drop_out, per_site=per_site, masked=masked),
                        "charged_evaluation": [
                            _charged(
                                seed, epsilon, members, names if per_site else [], counts=counts
                            )
                            for seed in arm.seeds
                        ],
                    }
                )
            arms.append(arm)
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
        drop_out=drop_out,
    )


def _traffic(sites: int, drop_out: float, *, per_site: bool, masked: bool) -> Traffic:
    lost = 3.5 if drop_out else 0.0
    kinds = ["moments", "training", "evaluation", "counts"]
    kinds += ["site_evaluation"] if per_site else []
    return Traffic(
        sites=sites,
        sessions=2.0 if drop_out else 1.0,
        exchanges=ROUNDS + len(kinds) + lost,
        attempts=ROUNDS + len(kinds) - 1 + lost,
        lost=lost,
        repeated=lost,
        bytes_up=812.0,
        bytes_down=2468.5,
        by_kind=[
            SumTraffic(
                kind=kind,
                sums=float(ROUNDS if kind == "training" else 1),
                attempts=ROUNDS + lost if kind == "training" else 1.0,
                bytes_up=800.0 + len(kind),
                bytes_down=2400.0 + len(kind),
            )
            for kind in kinds
        ],
        seconds_computing=0.00123,
        seconds_in_noise=0.000456,
        seconds_in_masks=0.00789 if masked else 0.0,
    )


def _charged(
    seed: SeedResult,
    epsilon: float | None,
    groups: dict[str, list[str]],
    sites: list[str],
    *,
    counts: bool,
) -> ChargedEvaluation:
    """Estimates off by a little, and by more at a smaller epsilon."""
    noise = 0.02 / (epsilon or 100.0)

    def group(name: str, members: list[str], metrics: Metrics) -> ChargedGroup:
        exact = {
            "patients": float(metrics.patients),
            "accuracy": metrics.accuracy,
            "auroc": metrics.auroc,
            "brier": metrics.brier,
        }
        figures = {
            figure: Figure(
                value=None if value is None else value * (1 - noise),
                low=None if value is None else value * (1 - 2 * noise) - 0.03,
                high=None if value is None else value + 0.03,
                full_view=value,
            )
            for figure, value in exact.items()
        }
        return ChargedGroup(
            name=name,
            sites=members,
            figures=figures,
            calibration=[
                ChargedBin(
                    low=0.0,
                    high=1.0,
                    patients=figures["patients"],
                    observed_rate=Figure(value=0.4, low=0.3, high=0.5, full_view=0.41),
                )
            ],
        )

    return ChargedEvaluation(
        seed=seed.seed,
        groups=[group(name, members, seed.overall) for name, members in groups.items()],
        by_site=[group(site, [site], seed.by_site[site]) for site in sites],
        counts={
            "positive": Figure(value=171.4, low=160.2, high=182.7, full_view=170.0),
            "negative": Figure(value=283.9, low=272.6, high=295.1, full_view=285.0),
        }
        if counts
        else {},
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
