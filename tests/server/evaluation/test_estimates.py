from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedward.common.metrics import calibration_bins, classification_metrics
from fedward.common.study.score_sums import ScoreSums, score_sum, score_sums_length
from fedward.server.evaluation.estimates import (
    estimate,
    estimates_of_groups,
    overall_estimate,
)
from fedward.server.evaluation.results import Estimate, EvaluationEstimate

FIGURES = tuple(name for name in EvaluationEstimate.model_fields if name != "calibration")
SHARES = ("accuracy", "sensitivity", "specificity", "precision", "f1")


def patients(generator: np.random.Generator, count: int) -> tuple[Any, Any]:
    target = (generator.random(count) < 0.4).astype(np.float64)
    return target, generator.beta(1 + 2 * target, 2)


@pytest.mark.parametrize("threshold", [0.5, 0.33])
def test_without_noise_the_figures_are_the_usual_ones(seeded: Any, threshold: float) -> None:
    target, probability = patients(seeded(31), 500)
    total = score_sum(probability, target, threshold=threshold, bins=20)
    found = estimate(ScoreSums.of(total, bins=20, noise_deviation=0.0), threshold=threshold)
    usual = classification_metrics(target, probability, threshold=threshold)
    for name in SHARES:
        assert getattr(found, name).value == pytest.approx(getattr(usual, name))
    assert found.brier.value == pytest.approx(usual.brier, abs=1e-6)
    assert found.auroc.value == pytest.approx(usual.auroc, abs=0.01)
    assert found.patients.value == pytest.approx(500)
    assert found.patients.low == pytest.approx(found.patients.high)
    assert found.positive_share.value == pytest.approx(target.mean())
    for part, expected in zip(
        found.calibration, calibration_bins(target, probability, bins=20), strict=True
    ):
        assert (part.low, part.high) == (expected.low, expected.high)
        assert part.patients.value == pytest.approx(expected.count, abs=1e-6)
        if expected.observed_rate is None:
            assert not part.observed_rate.known
        else:
            assert part.observed_rate.value == pytest.approx(expected.observed_rate)


def test_the_brier_score_has_the_usual_width(seeded: Any) -> None:
    target, probability = patients(seeded(32), 3000)
    total = score_sum(probability, target, threshold=0.5, bins=20)
    found = estimate(ScoreSums.of(total, bins=20, noise_deviation=0.0), threshold=0.5).brier
    usual = 2 * 1.96 * ((probability - target) ** 2).std() / math.sqrt(3000)
    assert found.low is not None
    assert found.high is not None
    assert 1.0 < (found.high - found.low) / usual < 1.3


def test_sums_of_groups_are_one_release(good: Any, seeded: Any) -> None:
    groups = {
        name: good.release(seeded(33, number), patients=200 * number, noise=3.0)
        for number, name in enumerate(("north", "south", "others"), start=1)
    }
    each = estimates_of_groups(groups, threshold=0.5)
    whole = overall_estimate(groups, threshold=0.5)
    assert list(each) == list(groups)
    assert each["south"] == estimate(groups["south"], threshold=0.5)
    assert whole == estimate(groups["north"] + groups["south"] + groups["others"], threshold=0.5)
    values = [part.patients.value for part in each.values()]
    assert whole.patients.value == pytest.approx(sum(value or 0.0 for value in values))
    # Three sums with the same noise: the half width grows by the root of three.
    halves = [
        part.patients.high - part.patients.value
        for part in (*each.values(), whole)
        if part.patients.high is not None and part.patients.value is not None
    ]
    assert halves[3] == pytest.approx(math.sqrt(3) * halves[0])


def test_no_group_is_no_evaluation() -> None:
    with pytest.raises(ValueError, match="at least one group"):
        overall_estimate({}, threshold=0.5)


def test_nobody_has_no_figures() -> None:
    nobody = ScoreSums.of(np.zeros(score_sums_length(5)), bins=5, noise_deviation=0.0)
    found = estimate(nobody, threshold=0.5)
    assert found.patients == Estimate(value=0.0, low=0.0, high=0.0)
    assert not any(getattr(found, name).known for name in FIGURES if name != "patients")
    assert not any(part.observed_rate.known for part in found.calibration)


def test_where_noise_swamps_nothing_is_said(good: Any, seeded: Any) -> None:
    said = 0
    for seed in range(50):
        release = good.release(seeded(34, seed), patients=20, noise=200.0)
        found = estimate(release, threshold=0.5)
        said += sum(getattr(found, name).known for name in FIGURES if name != "patients")
    assert said <= 5


@given(
    st.integers(2, 12).flatmap(
        lambda bins: st.lists(
            st.floats(-1e5, 1e5),
            min_size=score_sums_length(bins),
            max_size=score_sums_length(bins),
        )
    ),
    st.floats(0, 1e4),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
@example(total=[0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 5e-324], noise=0.0, threshold=0.0)
def test_any_release_gives_finite_figures_or_none(
    total: list[float], noise: float, threshold: float
) -> None:
    bins = (len(total) - 5) // 2
    sums = ScoreSums.of(np.array(total), bins=bins, noise_deviation=noise)
    found = estimate(sums, threshold=threshold)
    assert EvaluationEstimate.model_validate_json(found.model_dump_json()) == found
    for name in FIGURES:
        figure = getattr(found, name)
        if figure.known and name != "patients":
            assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_the_json_is_plain(good: Any, seeded: Any) -> None:
    found = estimate(good.release(seeded(35), patients=60, noise=20.0), threshold=0.5)
    text = found.model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert "null" in text
