from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from fedward.audits.empirical.claimed_releases import ClaimedReleases
from fedward.common.privacy.events import GaussianEvent

CANARIES = 20_000


def _auc(releases: ClaimedReleases) -> float:
    scores, included = releases.simulated(CANARIES, np.random.default_rng(1))
    ranks = np.argsort(np.argsort(scores)) + 1
    there = int(included.sum())
    above = ranks[included].sum() - there * (there + 1) / 2
    return float(above / (there * (CANARIES - there)))


@pytest.mark.parametrize(("noise", "count"), [(2.0, 1), (10.0, 25)])
def test_unsampled_releases_separate_as_one_gaussian(noise: float, count: int) -> None:
    releases = ClaimedReleases(events=(GaussianEvent(noise_multiplier=noise, count=count),))
    mu = np.sqrt(count) / noise
    assert _auc(releases) == pytest.approx(norm.cdf(mu / np.sqrt(2)), abs=0.015)


def test_scores_are_log_likelihood_ratios() -> None:
    # E[exp(score)] over canaries that are out is 1, and that of exp(-score) over those in.
    events = (
        GaussianEvent(noise_multiplier=1.5, sampling_rate=0.3, count=5),
        GaussianEvent(noise_multiplier=3.0, count=4),
    )
    scores, included = ClaimedReleases(events=events).simulated(CANARIES, np.random.default_rng(2))
    assert np.exp(scores[~included]).mean() == pytest.approx(1, abs=0.05)
    assert np.exp(-scores[included]).mean() == pytest.approx(1, abs=0.05)
    assert included.mean() == pytest.approx(0.5, abs=0.02)


def test_local_steps_tell_less_than_the_same_steps_one_by_one() -> None:
    event = GaussianEvent(noise_multiplier=1.0, sampling_rate=0.2, count=12)
    together = ClaimedReleases(events=(event,), steps=(1.5, 1.0, 0.5))
    one_by_one = ClaimedReleases(events=(event,))
    assert 0.6 < _auc(together) < _auc(one_by_one) - 0.01
