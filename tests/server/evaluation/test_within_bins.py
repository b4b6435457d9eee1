from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedward.common.metrics import auroc
from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation.score_histogram import ScoreHistogram, ScoreHistograms
from fedward.server.evaluation.within_bins import WithinBins


def histograms(
    positives: list[float], negatives: list[float], *, noise: float = 0.0
) -> ScoreHistograms:
    def one(counts: list[float]) -> ScoreHistogram:
        return ScoreHistogram.agreeing(
            np.array(counts), (sum(counts),), cuts=(), noise=noise, sum_noise=noise
        )

    return ScoreHistograms(positives=one(positives), negatives=one(negatives))


def test_equal_ratios_leave_the_order_to_chance() -> None:
    found = WithinBins.of(histograms([50.0] * 5, [100.0] * 5))
    assert found.largest_gain[1:-1] == pytest.approx([0.0, 0.0, 0.0])
    assert found.rising.all()


def test_the_corner_has_the_slopes_of_the_neighbours() -> None:
    found = WithinBins.of(histograms([50.0, 100.0, 400.0], [100.0, 100.0, 100.0]))
    x, y = found.negatives[1], found.positives[1]
    assert y / x == pytest.approx(4.0)
    assert (1 - y) / (1 - x) == pytest.approx(0.5)


def test_nothing_is_known_beyond_the_outermost_bins() -> None:
    found = WithinBins.of(histograms([10.0, 100.0, 10000.0], [10000.0, 100.0, 10.0]))
    assert found.largest_gain[0] == pytest.approx(0.5, abs=0.01)
    assert found.largest_gain[-1] == pytest.approx(0.5, abs=0.01)


def test_falling_ratios_let_the_order_be_worse_than_chance() -> None:
    rising = WithinBins.of(histograms([10.0, 20.0, 40.0], [40.0, 20.0, 10.0]))
    falling = WithinBins.of(histograms([40.0, 20.0, 10.0], [10.0, 20.0, 40.0]))
    assert rising.rising.all()
    assert not falling.rising.any()
    assert falling.largest_gain[1] == pytest.approx(rising.largest_gain[1])


def test_bins_without_patients_are_passed_over() -> None:
    found = WithinBins.of(histograms([0.0, 10.0, 0.0, 40.0, 0.0], [0.0, 40.0, 0.0, 10.0, 0.0]))
    near = WithinBins.of(histograms([10.0, 40.0], [40.0, 10.0]))
    assert found.rising[[1, 3]].all()
    assert found.largest_gain[[1, 3]] == pytest.approx(near.largest_gain)


def test_counts_below_the_noise_are_no_neighbours() -> None:
    counts = [300.0, 3.0, 100.0], [100.0, 9.0, 300.0]
    clear = WithinBins.of(histograms(*counts))
    noisy = WithinBins.of(histograms(*counts, noise=20.0))
    assert clear.largest_gain[0] == pytest.approx(0.5)
    # Seen from the middle bin alone, with its lower ratio, the last one seems to rise.
    assert clear.rising[2]
    assert not noisy.rising[[0, 2]].any()


@pytest.mark.parametrize("bins", [5, 10, 20, 50])
@pytest.mark.parametrize(
    ("prevalence", "separation", "certainty"),
    [(0.5, 2.2, 1.0), (0.5, 0.8, 1.0), (0.1, 2.2, 1.0), (0.1, 0.8, 1.0), (0.5, 2.2, 2.5)],
)
def test_the_order_inside_bins_is_within_the_bounds(
    population: Any, prevalence: float, separation: float, certainty: float, bins: int
) -> None:
    """Exact areas inside each bin, of a population whose ratios rise with the score."""
    score, positive, negative = population(prevalence, separation, certainty).cells
    place = np.searchsorted(np.arange(1, bins) / bins, score, side="right")
    many = 1e12
    found = WithinBins.of(
        histograms(
            (many * np.bincount(place, positive, bins)).tolist(),
            (many * np.bincount(place, negative, bins)).tolist(),
        )
    )
    for where in range(bins):
        inside = place == where
        ill, healthy = positive[inside], negative[inside]
        if ill.sum() * many < 1 or healthy.sum() * many < 1:
            continue
        below = np.cumsum(healthy) - healthy / 2
        area = ill @ below / (ill.sum() * healthy.sum())
        assert 0.5 - 1e-9 <= area <= 0.5 + found.largest_gain[where] + 1e-9


def test_more_bins_leave_less_open(population: Any, seeded: Any) -> None:
    gaps = []
    for bins in (5, 20, 80):
        release: ScoreSums = population(0.5, 2.2).release(
            seeded(1), patients=10**6, noise=0.0, bins=bins
        )
        found = WithinBins.of(ScoreHistograms.of(release, threshold=0.5))
        shared = release.positives * release.negatives
        gaps.append(float(shared @ found.largest_gain) / 0.25e12)
    assert gaps[0] > 4 * gaps[1] > 4 * gaps[2]


def test_a_perfect_order_needs_open_slopes() -> None:
    """One bin for all patients: anything from a perfect to a useless model fits it."""
    found = WithinBins.of(histograms([30.0], [70.0]))
    assert found.largest_gain[0] == pytest.approx(0.5)
    perfect = auroc(np.array([0.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3]))
    assert perfect == 0.5 + found.largest_gain[0]
