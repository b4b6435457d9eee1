from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation.score_histogram import (
    ScoreHistogram,
    ScoreHistograms,
    counts_above,
    counts_below,
)

TRUE_COUNTS = np.array([30.0, 20.0, 10.0, 5.0, 40.0, 60.0])


def noised(seed: int, *, draws: int) -> list[ScoreHistogram]:
    """The same counts released many times, with 3 patients of noise a bin and 2 a block."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return [
        ScoreHistogram.agreeing(
            TRUE_COUNTS + 3 * generator.standard_normal(6),
            (
                60 + 2 * float(generator.standard_normal()),
                105 + 2 * float(generator.standard_normal()),
            ),
            cuts=(3,),
            noise=3.0,
            sum_noise=2.0,
        )
        for _ in range(draws)
    ]


def sums(**changes: Any) -> ScoreSums:
    fields: dict[str, Any] = {
        "true_positive": 7.0,
        "false_positive": 2.0,
        "true_negative": 5.0,
        "false_negative": 1.0,
        "positives": np.array([1.0, 0.0, 3.0, 4.0]),
        "negatives": np.array([2.0, 3.0, 1.0, 1.0]),
        "squared_error": 2.0,
        "confusion_noise": 0.0,
        "histogram_noise": 0.0,
        "squared_error_noise": 0.0,
    }
    return ScoreSums(**(fields | changes))


@pytest.mark.parametrize(
    "weights",
    [np.ones(6), np.arange(6.0), np.array([1.0, 1, 1, 0, 0, 0]), np.array([1.0, 0, 0, 0, 0, 0])],
)
def test_the_noise_that_is_left_is_as_stated(weights: Any) -> None:
    found = noised(1, draws=4000)
    values = np.array([histogram.counts @ weights for histogram in found])
    stated = found[0].noise_variance(weights)
    assert values.mean() == pytest.approx(TRUE_COUNTS @ weights, abs=4 * np.sqrt(stated / 4000))
    assert values.var() == pytest.approx(stated, rel=0.1)


def test_sums_and_bins_together_have_less_noise_than_either() -> None:
    found = noised(2, draws=1)[0]
    upper = np.array([0.0, 0, 0, 1, 1, 1])
    assert found.noise_variance(upper) < 2.0**2
    assert found.noise_variance(np.eye(6)[0]) < 3.0**2
    # Noise that moves patients between bins of a block is as it was.
    assert found.noise_variance(np.array([1.0, -1, 0, 0, 0, 0])) == pytest.approx(2 * 3.0**2)


def test_fresh_noise_is_of_the_same_kind() -> None:
    found = noised(3, draws=1)[0]
    redrawn = found.redrawn(6000, np.random.Generator(np.random.PCG64(4)))
    for weights in (np.ones(6), np.arange(6.0), np.eye(6)[2]):
        values = redrawn @ weights
        stated = found.noise_variance(weights)
        assert values.var() == pytest.approx(stated, rel=0.1)
        assert values.mean() == pytest.approx(
            found.counts @ weights, abs=4 * np.sqrt(stated / 6000)
        )


def test_without_noise_counts_are_kept() -> None:
    found = ScoreHistograms.of(sums(), threshold=0.5)
    assert np.array_equal(found.positives.counts, [1, 0, 3, 4])
    assert np.array_equal(found.negatives.counts, [2, 3, 1, 1])
    assert found.positives.noise_variance(np.arange(4.0)) == 0
    assert found.can_be_ranked


@pytest.mark.parametrize(("threshold", "blocks"), [(0.5, 2), (0.25, 2), (0.6, 1), (0.0, 1)])
def test_a_threshold_between_two_bins_cuts_the_histogram(threshold: float, blocks: int) -> None:
    found = ScoreHistograms.of(sums(confusion_noise=1.0, histogram_noise=1.2), threshold=threshold)
    assert len(found.positives.blocks) == len(found.negatives.blocks) == blocks


def test_exact_confusion_counts_settle_the_sums() -> None:
    found = ScoreHistograms.of(
        sums(histogram_noise=2.0, true_positive=9.0, false_positive=4.0), threshold=0.5
    )
    assert found.positives.counts[:2].sum() == pytest.approx(1.0)
    assert found.positives.counts[2:].sum() == pytest.approx(9.0)
    assert found.negatives.counts[2:].sum() == pytest.approx(4.0)
    assert found.negatives.patients == pytest.approx(9.0)


def test_one_outcome_alone_cannot_be_ranked() -> None:
    nobody = np.zeros(4)
    none = ScoreHistograms.of(
        sums(negatives=nobody, false_positive=0.0, true_negative=0.0), threshold=0.5
    )
    assert none.positives.is_of_somebody
    assert not none.can_be_ranked
    hidden = ScoreHistograms.of(sums(confusion_noise=5.0, histogram_noise=6.0), threshold=0.5)
    assert not hidden.can_be_ranked


@given(st.lists(st.integers(-5, 9), min_size=1, max_size=9))
def test_counts_above_and_below_leave_out_the_bin_itself(counts: list[int]) -> None:
    values = np.array(counts, dtype=np.float64)
    for place in range(len(counts)):
        assert counts_above(values)[place] == sum(counts[place + 1 :])
        assert counts_below(values)[place] == sum(counts[:place])
