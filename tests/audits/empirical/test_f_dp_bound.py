from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fedward.audits.empirical.bisection import HIGHEST
from fedward.audits.empirical.claimed_releases import ClaimedReleases
from fedward.audits.empirical.f_dp_bound import f_dp_epsilon, rejected
from fedward.audits.empirical.guesses import Guessed, GuessPlan
from fedward.audits.empirical.one_run_bound import one_run_epsilon
from fedward.audits.empirical.trade_off import GaussianTradeOff, PrivacyCurveTradeOff
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import gaussian_noise_multiplier

from .public_values import DELTA, F_DP, guesses_of


def _most_probable(guessed: Guessed, epsilons: list[float], deltas: list[float]) -> float:
    """The largest P[correct >= c] that all conditions of the theorem allow, as a linear program."""
    count, scale = guessed.guesses, 2 if guessed.sides == 1 else 1
    numbers = np.arange(count + 1)
    right, wrong = (scale * n / guessed.canaries for n in (numbers, count - numbers))
    rows, bounds = [], []
    for least in range(1, count + 1):
        r = np.where(numbers >= least, right, 0)
        h = np.where(numbers >= least - 1, wrong, 0)
        for epsilon, delta in zip(epsilons, deltas, strict=True):
            # h >= e^-eps (r - delta)  and  h >= 1 - delta - e^eps (1 - r)
            rows += [math.exp(-epsilon) * r - h, math.exp(epsilon) * r - h]
            bounds += [math.exp(-epsilon) * delta, math.exp(epsilon) - 1 + delta]
    found = linprog(
        -(numbers >= guessed.correct).astype(float),
        A_ub=np.array(rows),
        b_ub=bounds,
        A_eq=np.ones((1, count + 1)),
        b_eq=[1.0],
    )
    assert found.success
    return float(-found.fun)


@st.composite
def outcomes(draw: st.DrawFn) -> Guessed:
    canaries = draw(st.integers(2, 14))
    sides = draw(st.sampled_from([1, 2]))
    guesses = draw(st.integers(1, canaries // 2 if sides == 1 else canaries))
    correct = draw(st.integers(1, guesses))
    return Guessed(canaries=canaries, guesses=guesses, correct=correct, sides=sides)


@settings(max_examples=60)
@given(
    guessed=outcomes(),
    pairs=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.3)), min_size=1, max_size=3),
)
def test_recursion_finds_the_largest_probability_that_the_theorem_allows(
    guessed: Guessed, pairs: list[tuple[float, float]]
) -> None:
    epsilons, deltas = [e for e, _ in pairs], [d for _, d in pairs]
    most = _most_probable(guessed, epsilons, deltas)
    trade_off = PrivacyCurveTradeOff(np.array(epsilons), np.array(deltas))
    assert not rejected(guessed, trade_off, significance=most * (1 - 1e-6))
    if most < 1 - 1e-6:
        assert rejected(guessed, trade_off, significance=most + 1e-6)


@pytest.mark.parametrize("shift", F_DP)
def test_agrees_with_the_published_values(shift: int) -> None:
    guesses, significance = guesses_of(shift)

    def any_rejected(epsilon: float) -> bool:
        mu = 1 / gaussian_noise_multiplier(epsilon=epsilon, delta=DELTA)
        return any(
            rejected(one, GaussianTradeOff(mu), significance=significance) for one in guesses
        )

    assert any_rejected(F_DP[shift] * (1 - 1e-5))
    assert not any_rejected(F_DP[shift] * (1 + 1e-5))


def test_guessing_one_side_alone_shows_more_than_if_that_were_unknown() -> None:
    events = (GaussianEvent(noise_multiplier=1.0),)
    one, two = (
        f_dp_epsilon(
            Guessed(canaries=1000, guesses=100, correct=90, sides=sides),
            events,
            delta=1e-5,
            confidence=0.95,
        )
        for sides in (1, 2)
    )
    assert one > two > 0


def _bounds(
    releases: ClaimedReleases, claimed: ClaimedReleases, plan: GuessPlan, runs: int, canaries: int
) -> list[float]:
    return [
        f_dp_epsilon(
            plan.made(*releases.simulated(canaries, np.random.default_rng([5, run]))),
            claimed.events,
            delta=1e-5,
            confidence=0.95,
        )
        for run in range(runs)
    ]


@pytest.mark.parametrize(
    ("rate", "count", "plan"),
    [
        (1.0, 20, GuessPlan(highest=60, lowest=60)),
        (0.1, 10, GuessPlan(highest=80, lowest=0)),
    ],
)
def test_bound_is_below_the_truth_and_not_void(rate: float, count: int, plan: GuessPlan) -> None:
    noise = calibrated_noise_multiplier(epsilon=4.0, delta=1e-5, sampling_rate=rate, count=count)
    claimed = ClaimedReleases(
        events=(GaussianEvent(noise_multiplier=noise, sampling_rate=rate, count=count),)
    )
    bounds = _bounds(claimed, claimed, plan, 4, 1000)
    assert max(bounds) <= 4.0
    assert np.median(bounds) > 1.0


@pytest.mark.parametrize(("rate", "count"), [(1.0, 20), (0.1, 10)])
def test_a_fifth_of_the_noise_is_above_the_claim(rate: float, count: int) -> None:
    noise = calibrated_noise_multiplier(epsilon=2.0, delta=1e-5, sampling_rate=rate, count=count)
    honest, lacking = (
        ClaimedReleases(
            events=(GaussianEvent(noise_multiplier=size, sampling_rate=rate, count=count),)
        )
        for size in (noise, noise / 5)
    )
    plan = GuessPlan(highest=50, lowest=50)
    assert min(_bounds(lacking, honest, plan, 2, 1000)) > 2.0


def test_tolerance_only_lowers_a_bound() -> None:
    events = (GaussianEvent(noise_multiplier=1.0),)
    guessed = Guessed(canaries=2000, guesses=100, correct=97)
    fine, coarse = (
        f_dp_epsilon(guessed, events, delta=1e-5, confidence=0.95, tolerance=steps)
        for steps in (1, 50)
    )
    assert 0.7 * fine < coarse <= fine


def test_shows_nothing_by_chance() -> None:
    guessed = Guessed(canaries=1000, guesses=200, correct=100)
    events = (GaussianEvent(noise_multiplier=1.0),)
    assert f_dp_epsilon(guessed, events, delta=1e-5, confidence=0.95) == 0.0


def test_shows_more_than_what_holds_for_any_mechanism_where_all_is_plain() -> None:
    guessed = Guessed(canaries=2000, guesses=2000, correct=2000)
    events = (GaussianEvent(noise_multiplier=1.0),)
    any_mechanism = one_run_epsilon(guessed, delta=1e-5, confidence=0.95)
    bound = f_dp_epsilon(guessed, events, delta=1e-5, confidence=0.95)
    assert 5 < any_mechanism < bound < HIGHEST


def test_no_bound_is_above_the_highest() -> None:
    # One canary of one, always right: at confidence 1/2 no noise would be too little.
    guessed = Guessed(canaries=1, guesses=1, correct=1)
    assert not rejected(guessed, GaussianTradeOff(30.0), significance=0.5)
    sure = f_dp_epsilon(
        guessed, (GaussianEvent(noise_multiplier=1.0),), delta=1e-5, confidence=0.01
    )
    assert 0 < sure < HIGHEST
