from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedward.simulations.results import Metrics, RoundPoint, SeedResult
from fedward.simulations.summaries import (
    build_arm,
    interval_of,
    mean_rounds,
    metrics_of,
    pooled_calibration,
    summary_of,
    worst_site_accuracy,
)


def site(accuracy: float, *, patients: int = 10, auroc: float | None = 0.9) -> Metrics:
    return Metrics(
        patients=patients,
        accuracy=accuracy,
        auroc=auroc,
        sensitivity=None,
        specificity=0.8,
        f1=None,
        brier=0.1,
    )


def seed(number: int, overall: float, *sites: Metrics, auroc: float | None = 0.9) -> SeedResult:
    return SeedResult(
        seed=number,
        overall=site(overall, auroc=auroc),
        by_site={f"site_{i}": metrics for i, metrics in enumerate(sites)},
        seconds=2.0,
        model_digest="0" * 64,
    )


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_interval_is_scipys_t_interval(values: list[float]) -> None:
    found = interval_of(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.mean == pytest.approx(float(np.mean(values)))
    error = float(stats.sem(values))
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert found.low == pytest.approx(low)
        assert found.high == pytest.approx(high)


def test_interval_covers_the_mean_in_95_percent_of_samples() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for sample in generator.normal(0.9, 0.02, size=(4000, 3)):
        found = interval_of(sample.tolist())
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.9 <= found.high
    # Four standard errors; the normal quantile in place of Student's would give 80 %.
    assert abs(covered / 4000 - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def test_one_seed_has_no_interval_and_no_value_no_mean() -> None:
    one = interval_of([0.9])
    assert one is not None
    assert (one.mean, one.low, one.high) == (0.9, None, None)
    assert interval_of([None, None]) is None
    assert interval_of([]) is None
    assert interval_of([None, 0.5]) == interval_of([0.5])


def test_worst_site_skips_sites_without_held_out_patients() -> None:
    assert worst_site_accuracy(seed(0, 0.9, site(0.8), site(0.7), site(0.0, patients=0))) == 0.7
    assert worst_site_accuracy(seed(0, 0.9)) is None


def test_summary_takes_the_worst_site_of_each_seed_before_the_mean() -> None:
    seeds = [seed(0, 0.9, site(0.6), site(0.9)), seed(1, 0.8, site(0.9), site(0.7))]
    summary = summary_of(seeds)
    assert summary["worst_site_accuracy"].mean == pytest.approx(0.65)
    assert summary["accuracy"].mean == pytest.approx(0.85)
    assert summary["seconds"].mean == 2.0


def test_summary_leaves_out_what_no_seed_defines() -> None:
    summary = summary_of([seed(0, 0.9, auroc=None)])
    assert "auroc" not in summary
    assert "sensitivity" not in summary
    assert "worst_site_accuracy" not in summary
    assert "specificity" in summary


def test_metrics_of_known_predictions() -> None:
    target, probability = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.7, 0.4])
    found = metrics_of(target, probability, threshold=0.5)
    assert found.patients == 3
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.precision == 1.0


def test_calibration_pools_the_predictions_of_all_seeds() -> None:
    first = (np.array([0.0, 1.0]), np.array([0.1, 0.9]))
    second = (np.array([1.0]), np.array([0.2]))
    low, high = pooled_calibration([first, second], bins=2)
    assert (low.patients, high.patients) == (2, 1)
    assert low.observed_rate == pytest.approx(0.5)
    assert low.mean_predicted == pytest.approx(0.15)
    assert pooled_calibration([], bins=2) == []


def point(number: int, accuracy: float, epsilon: float | None, auroc: float | None) -> RoundPoint:
    return RoundPoint(round=number, accuracy=accuracy, auroc=auroc, log_loss=0.5, epsilon=epsilon)


def test_rounds_are_means_and_epsilon_is_the_worst() -> None:
    first, second = mean_rounds(
        [
            [point(1, 0.5, 0.1, None), point(2, 0.7, 0.2, 0.8)],
            [point(1, 0.7, 0.3, None), point(2, 0.9, 0.4, None)],
        ]
    )
    assert (first.accuracy, first.epsilon, first.auroc) == (pytest.approx(0.6), 0.3, None)
    assert (second.accuracy, second.epsilon, second.auroc) == (pytest.approx(0.8), 0.4, 0.8)


def test_a_seed_that_ended_early_counts_as_far_as_it_came() -> None:
    first, second = mean_rounds(
        [
            [point(1, 0.5, 0.1, None)],
            [point(1, 0.7, 0.3, None), point(2, 0.9, 0.4, None)],
        ]
    )
    assert (first.round, first.accuracy) == (1, pytest.approx(0.6))
    assert (second.round, second.accuracy, second.epsilon) == (2, 0.9, 0.4)


def test_rounds_that_are_missing_are_refused() -> None:
    for run in (
        [point(1, 0.5, None, None), point(3, 0.5, None, None)],
        [point(2, 0.5, None, None)],
    ):
        with pytest.raises(ValueError, match="every round"):
            mean_rounds([[point(1, 0.5, None, None)], run])
    assert mean_rounds([]) == []
    assert mean_rounds([[], []]) == []


def test_an_arm_is_built_from_its_seeds() -> None:
    seeds = [seed(3, 0.9, site(0.8)), seed(4, 0.8, site(0.7))]
    arm = build_arm(
        kind="federated_distributed",
        label="Federated, distributed DP",
        seeds=seeds,
        rounds=[[point(1, 0.9, 0.4, 0.9)], [point(1, 0.8, 0.4, 0.9)]],
        predictions=[(np.array([0.0]), np.array([0.3]))],
        bins=5,
        target_epsilon=1.0,
        epsilon=0.9991,
        epsilon_alone=3.2,
        delta=1e-5,
    )
    assert [result.seed for result in arm.seeds] == [3, 4]
    assert arm.summary["accuracy"].mean == pytest.approx(0.85)
    assert len(arm.calibration) == 5
    assert arm.rounds[0].accuracy == pytest.approx(0.85)
    with pytest.raises(ValueError, match="no seed"):
        build_arm(kind="alone", label="x", seeds=[], rounds=[], predictions=[], bins=2)
