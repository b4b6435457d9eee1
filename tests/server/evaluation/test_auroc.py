from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common import metrics
from fedward.common.study.score_sums import ScoreSums, score_sum
from fedward.server.evaluation.auroc import auroc
from fedward.server.evaluation.results import Estimate, Z
from fedward.server.evaluation.score_histogram import ScoreHistograms

BINS = 10


def estimated(target: Any, probability: Any, *, bins: int = BINS) -> Estimate:
    total = score_sum(probability, target, threshold=0.5, bins=bins)
    sums = ScoreSums.of(total, bins=bins, noise_deviation=0.0)
    return auroc(ScoreHistograms.of(sums, threshold=0.5))


def width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, BINS - 1)), min_size=1, max_size=60))
def test_without_noise_the_value_is_that_of_the_binned_scores(
    drawn: list[tuple[int, int]],
) -> None:
    target = np.array([pair[0] for pair in drawn], dtype=np.float64)
    probability = np.array([(pair[1] + 0.5) / BINS for pair in drawn])
    expected = metrics.auroc(target, probability)
    found = estimated(target, probability)
    if expected is None:
        assert not found.known
    else:
        assert found.value == pytest.approx(expected, abs=1e-9)


def test_unbinned_scores_are_within_the_interval(seeded: Any) -> None:
    generator = seeded(11)
    target = (generator.random(400) < 0.4).astype(np.float64)
    probability = generator.beta(1 + 2 * target, 2)
    exact = metrics.auroc(target, probability)
    for bins in (4, 20, 400):
        found = estimated(target, probability, bins=bins)
        assert found.low is not None
        assert found.high is not None
        assert exact is not None
        assert found.low < exact < found.high
    assert found.value == pytest.approx(exact, abs=0.002)


def test_without_noise_the_width_is_about_that_of_delong(seeded: Any) -> None:
    """Against the variance of patients' shares of pairs won, from the unbinned scores."""
    generator = seeded(12)
    target = np.repeat([0.0, 1.0], [600, 400])
    probability = generator.beta(1 + 2 * target, 2)
    wins = (probability[600:, None] > probability[None, :600]).astype(np.float64)
    deviation = math.sqrt(wins.mean(1).var() / 400 + wins.mean(0).var() / 600)
    assert 1.0 < width(estimated(target, probability, bins=200)) / (2 * Z * deviation) < 1.15


def test_a_perfect_ranking_has_a_limit_below(seeded: Any) -> None:
    target = np.repeat([0.0, 1.0], [30, 30])
    found = estimated(target, target * 0.9)
    assert found.value == found.high == 1.0
    assert found.low is not None
    assert 0.85 < found.low < 0.97


def test_noise_widens_and_then_hides(good: Any, seeded: Any) -> None:
    def mean_width(noise: float) -> float:
        found = [
            auroc(
                ScoreHistograms.of(
                    good.release(seeded(13, seed), patients=3000, noise=noise), threshold=0.5
                )
            )
            for seed in range(20)
        ]
        return float(np.mean([width(each) for each in found]))

    assert mean_width(0.0) < mean_width(6.0) < mean_width(20.0) < 0.1
    assert not auroc(
        ScoreHistograms.of(good.release(seeded(14), patients=3000, noise=3000.0), threshold=0.5)
    ).known


def test_knowing_the_threshold_helps(good: Any, seeded: Any) -> None:
    release = good.release(seeded(15), patients=3000, noise=20.0)
    cut = auroc(ScoreHistograms.of(release, threshold=0.5))
    whole = auroc(ScoreHistograms.of(release, threshold=0.51))
    assert width(cut) < width(whole)
