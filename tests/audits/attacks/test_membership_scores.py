from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.attacks.local_steps import LinearSteps
from fedward.audits.attacks.membership_inference import Judged
from fedward.audits.attacks.membership_scores import ReleaseScores, likelihood_ratios

WHOLE = LinearSteps(gains=np.ones(1), drift=0.0, sign=1.0, rate=1.0)
CANDIDATES = 120


def judged(
    *, noise: float, claimed: float | None = None, steps: LinearSteps = WHOLE, seed: int = 0
) -> Judged:
    """Eight releases of 20 numbers each over 120 candidates."""
    generator = np.random.default_rng(seed)
    members = generator.random((CANDIDATES, 65)) < 0.5
    scores = ReleaseScores(members, steps=steps, generator=generator)
    for _ in range(8):
        gradients = generator.standard_normal((CANDIDATES, 20))
        weights = members[:, 0] * steps.draw((CANDIDATES,), generator)
        observed = weights @ gradients + noise * generator.standard_normal(20)
        scores.add(
            gradients,
            gradients @ gradients.T,
            observed,
            noise_deviation=noise if claimed is None else claimed,
        )
    return Judged(scores=likelihood_ratios(scores.scores(), members), members=members[:, 0])


def test_more_equations_than_candidates_tell_everybody() -> None:
    found = judged(noise=0.0)
    assert (found.auc, found.true_positives) == (1.0, 1.0)
    assert found.auc_beyond_chance
    assert found.true_positives_beyond_chance


def test_noise_wears_the_attack_down() -> None:
    areas = [np.mean([judged(noise=n, seed=s).auc for s in range(6)]) for n in (1, 8, 1000)]
    assert areas[0] > 0.95
    assert 0.6 < areas[1] < 0.9
    assert 0.42 < areas[2] < 0.58


def test_fresh_batches_are_told_apart_from_absence() -> None:
    often = LinearSteps(gains=np.ones(1), drift=0.0, sign=1.0, rate=0.5)
    assert judged(noise=0.0, steps=often).auc > 0.75


def test_ratios_are_fitted_to_the_runs_with_and_without_each_candidate() -> None:
    generator = np.random.default_rng(0)
    members = generator.random((50, 401)) < 0.5
    shift = np.linspace(0, 3, 50)[:, None]
    scores: NDArray[np.float64] = members * shift + generator.standard_normal((50, 401))
    expected = shift[:, 0] * (scores[:, 0] - shift[:, 0] / 2)

    assert likelihood_ratios(scores, members) == pytest.approx(expected, abs=0.6)


def test_figures_are_those_of_the_curve() -> None:
    members = np.array([True] * 4 + [False] * 200)
    scores = np.concatenate([[500.0, 198.5, 197.5, -1.0], np.arange(200.0)])
    found = Judged(scores=scores, members=members)

    # Two of the 200 may be above: the threshold is the third highest, 197.
    assert found.true_positives == 0.75
    assert found.auc == pytest.approx((200 + 199 + 198 + 0) / 800)


def test_a_verdict_needs_more_than_luck() -> None:
    """Scores that say nothing are found beyond chance about once in a thousand times."""
    generator = np.random.default_rng(0)
    members = np.arange(300) % 2 == 0
    lucky = [Judged(scores=generator.random(300), members=members) for _ in range(2000)]
    assert sum(one.auc_beyond_chance for one in lucky) <= 9
    assert sum(one.true_positives_beyond_chance for one in lucky) <= 9

    better = [
        Judged(scores=generator.standard_normal(300) + 1.5 * members, members=members)
        for _ in range(20)
    ]
    assert all(one.auc_beyond_chance for one in better)
    assert sum(one.true_positives_beyond_chance for one in better) > 10


def test_the_error_of_an_area_is_how_much_it_varies() -> None:
    generator = np.random.default_rng(0)
    members = np.arange(200) % 2 == 0
    for shift in (0.0, 1.0):
        drawn = [
            Judged(scores=generator.standard_normal(200) + shift * members, members=members)
            for _ in range(500)
        ]
        spread = float(np.std([one.auc for one in drawn], ddof=1))
        assert np.mean([one.auc_error for one in drawn]) == pytest.approx(spread, rel=0.15)
    assert judged(noise=0.0).auc_error == 0.0
