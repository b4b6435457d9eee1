from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from fedward.audits.empirical.claimed_releases import ClaimedReleases
from fedward.audits.empirical.guess_choice import (
    METHODS,
    chosen_plan,
    could_fail,
    lower_bound,
)
from fedward.audits.empirical.guesses import Guessed, GuessPlan
from fedward.audits.empirical.result import Method
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.events import GaussianEvent

DELTA, CONFIDENCE, CANARIES = 1e-5, 0.95, 1500


def _claimed(epsilon: float, *, rate: float = 1.0, count: int = 20) -> ClaimedReleases:
    noise = calibrated_noise_multiplier(
        epsilon=epsilon, delta=DELTA, sampling_rate=rate, count=count
    )
    return ClaimedReleases(
        events=(GaussianEvent(noise_multiplier=noise, sampling_rate=rate, count=count),)
    )


def _chosen(method: Method, claimed: ClaimedReleases) -> GuessPlan:
    return chosen_plan(method, claimed, canaries=CANARIES, delta=DELTA, confidence=CONFIDENCE)


def _median(method: Method, claimed: ClaimedReleases, plan: GuessPlan) -> float:
    bounds = [
        lower_bound(
            method,
            plan.made(*claimed.simulated(CANARIES, np.random.default_rng([9, run]))),
            claimed,
            delta=DELTA,
            confidence=CONFIDENCE,
        )
        for run in range(5)
    ]
    return float(np.median(bounds))


@pytest.mark.parametrize("method", METHODS)
def test_does_better_on_new_runs_than_guessing_everything_or_hardly_anything(
    method: Method,
) -> None:
    claimed = _claimed(4.0)
    best = _median(method, claimed, _chosen(method, claimed))
    assert best > _median(method, claimed, GuessPlan(highest=750, lowest=750))
    assert best > _median(method, claimed, GuessPlan(highest=2, lowest=2))
    assert 1.0 < best < 4.0


@pytest.mark.parametrize("method", METHODS)
def test_depends_on_the_claim_alone(method: Method) -> None:
    claimed = _claimed(2.0)
    first = _chosen(method, claimed)
    chosen_plan.cache_clear()
    np.random.default_rng(0).random(100)
    assert _chosen(method, claimed) == first


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_can_fail_the_claim_if_any_plan_can(method: Method) -> None:
    claimed = _claimed(4.0)
    able = partial(
        could_fail, method, claimed=claimed, canaries=CANARIES, delta=DELTA, confidence=CONFIDENCE
    )
    assert able(plan=_chosen(method, claimed))
    # Some sure guesses show much, but never more than this.
    assert not able(plan=GuessPlan(highest=8, lowest=8))
    all_right = Guessed(canaries=CANARIES, guesses=16, correct=16)
    assert 1 < lower_bound(method, all_right, claimed, delta=DELTA, confidence=CONFIDENCE) < 4


def test_where_nothing_can_be_shown_it_still_guesses() -> None:
    plan = _chosen("steinke_nasr_jagielski_2023", _claimed(0.01))
    assert 1 <= plan.guesses <= CANARIES


def test_sampled_canaries_betray_themselves_by_being_in() -> None:
    # A canary that was drawn stands out; one that was not looks like one that is out.
    method: Method = "mahloujifar_melis_chaudhuri_2024"
    plan = _chosen(method, _claimed(4.0, rate=0.05, count=5))
    assert plan.highest > plan.lowest
