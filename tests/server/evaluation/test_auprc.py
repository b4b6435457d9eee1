from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fedward.common.study.score_sums import ScoreSums, score_sum
from fedward.server.evaluation.auprc import _area_and_slopes, _areas, auprc
from fedward.server.evaluation.results import Estimate, Z
from fedward.server.evaluation.score_histogram import ScoreHistograms


def estimated(target: Any, probability: Any, *, bins: int) -> Estimate:
    total = score_sum(probability, target, threshold=0.5, bins=bins)
    sums = ScoreSums.of(total, bins=bins, noise_deviation=0.0)
    return auprc(ScoreHistograms.of(sums, threshold=0.5))


def width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_without_noise_it_agrees_with_scikit_learn_up_to_bins(seeded: Any, share: float) -> None:
    generator = seeded(21)
    target = (generator.random(5000) < share).astype(np.float64)
    probability = generator.beta(1 + 2 * target, 2)
    exact = average_precision_score(target, probability)
    for bins, apart in ((20, 0.02), (1000, 0.003)):
        found = estimated(target, probability, bins=bins)
        assert found.value == pytest.approx(exact, abs=apart)
        assert found.low is not None
        assert found.high is not None
        assert found.low < exact < found.high


def test_a_useless_ranking_has_the_share_of_positives_for_precision() -> None:
    target = np.repeat([0.0, 1.0], [300, 100])
    found = estimated(target, np.full(400, 0.3), bins=10)
    assert found.value == pytest.approx(0.25)


def test_a_perfect_ranking_has_a_limit_below() -> None:
    target = np.repeat([0.0, 1.0], [30, 30])
    found = estimated(target, target * 0.9, bins=10)
    assert found.value == pytest.approx(1.0)
    assert found.high == 1.0
    assert found.low is not None
    assert 0.8 < found.low < 0.95


def test_precision_inside_a_bin_is_a_curve(seeded: Any) -> None:
    """10 of 20 above; a bin of 30 and 60: the mean of (10 + 30 t) / (20 + 90 t) over t."""
    t = (np.arange(100000) + 0.5) / 100000
    curve = float(np.mean((10 + 30 * t) / (20 + 90 * t)))
    area = _areas(np.array([[30.0, 10.0]]), np.array([[60.0, 10.0]]), least=1e-9)
    assert area[0] == pytest.approx((30 * curve + 10 * 0.5) / 40, abs=1e-5)


def test_slopes_are_derivatives(seeded: Any) -> None:
    generator = seeded(22)
    positives, negatives = generator.uniform(2, 50, (2, 8))
    area, by_positives, by_negatives = _area_and_slopes(positives, negatives, least=1e-9)
    step = 1e-5
    nothing = np.zeros((8, 8))
    for slopes, moves in (
        (by_positives, (np.eye(8), nothing)),
        (by_negatives, (nothing, np.eye(8))),
    ):
        up, down = (
            _areas(
                positives + sign * step * moves[0], negatives + sign * step * moves[1], least=1e-9
            )
            for sign in (1, -1)
        )
        assert slopes == pytest.approx((up - down) / (2 * step), abs=1e-7)
    assert area == pytest.approx(_areas(positives[None], negatives[None], least=1e-9)[0])


def test_without_noise_the_width_is_about_that_of_a_binomial(good: Any, seeded: Any) -> None:
    """Boyd, Eng, Page 2013: as many trials as there are positive patients."""
    release = good.release(seeded(23), patients=4000, noise=0.0, bins=100)
    found = auprc(ScoreHistograms.of(release, threshold=0.5))
    assert found.value is not None
    usual = 2 * Z * np.sqrt(found.value * (1 - found.value) / release.positives.sum())
    assert 1.0 < width(found) / usual < 1.35


def test_noise_widens_and_then_hides(good: Any, seeded: Any) -> None:
    widths = [
        width(
            auprc(
                ScoreHistograms.of(
                    good.release(seeded(24), patients=3000, noise=noise), threshold=0.5
                )
            )
        )
        for noise in (0.0, 6.0, 40.0)
    ]
    assert widths == sorted(widths)
    assert not auprc(
        ScoreHistograms.of(good.release(seeded(25), patients=3000, noise=3000.0), threshold=0.5)
    ).known


def test_one_release_has_one_interval(good: Any, seeded: Any) -> None:
    release = good.release(seeded(26), patients=300, noise=6.0)
    histograms = ScoreHistograms.of(release, threshold=0.5)
    assert auprc(histograms) == auprc(histograms)
