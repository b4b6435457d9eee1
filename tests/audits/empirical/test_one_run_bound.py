from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from fedward.audits.empirical.guesses import Guessed
from fedward.audits.empirical.one_run_bound import one_run_epsilon, p_value

from .public_values import DELTA, ONE_RUN, guesses_of


def _tail(least: int, draws: int, chance: float) -> float:
    return math.fsum(
        math.comb(draws, right) * chance**right * (1 - chance) ** (draws - right)
        for right in range(max(0, least), draws + 1)
    )


@st.composite
def outcomes(draw: st.DrawFn) -> Guessed:
    canaries = draw(st.integers(1, 40))
    guesses = draw(st.integers(1, canaries))
    return Guessed(canaries=canaries, guesses=guesses, correct=draw(st.integers(0, guesses)))


@given(guessed=outcomes(), epsilon=st.floats(0, 6), delta=st.floats(0, 1))
def test_p_value_is_the_theorem_term_by_term(
    guessed: Guessed, epsilon: float, delta: float
) -> None:
    chance, right = 1 / (1 + math.exp(-epsilon)), guessed.correct
    beta = _tail(right, guessed.guesses, chance)
    alpha = max(
        [(_tail(right - i, guessed.guesses, chance) - beta) / i for i in range(1, right + 1)],
        default=0.0,
    )
    expected = min(1.0, beta + 2 * guessed.canaries * delta * max(alpha, 0.0))
    assert p_value(guessed, epsilon=epsilon, delta=delta) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shift", ONE_RUN)
def test_agrees_with_the_published_values(shift: int) -> None:
    guesses, significance = guesses_of(shift)

    def rejected(epsilon: float) -> bool:
        return any(p_value(one, epsilon=epsilon, delta=DELTA) <= significance for one in guesses)

    assert rejected(ONE_RUN[shift] * (1 - 1e-5))
    assert not rejected(ONE_RUN[shift] * (1 + 1e-5))


@pytest.mark.parametrize(("epsilon", "guesses"), [(0.5, 400), (2.0, 400), (5.0, 3000)])
def test_bound_is_above_the_truth_as_seldom_as_promised(epsilon: float, guesses: int) -> None:
    # Randomised response is the worst epsilon-DP mechanism, so a bound that is much surer than
    # promised would be needlessly low. Whole counts alone keep it from 0.05 exactly.
    chance = 1 / (1 + math.exp(-epsilon))

    def above(right: int) -> bool:
        guessed = Guessed(canaries=guesses, guesses=guesses, correct=right)
        return one_run_epsilon(guessed, delta=0.0, confidence=0.95) > epsilon

    least = bisect_left(range(guesses + 1), True, key=above)
    assert 0.03 < binom.sf(least - 1, guesses, chance) <= 0.05


def test_says_nothing_of_guesses_at_chance() -> None:
    guessed = Guessed(canaries=1000, guesses=400, correct=200)
    assert one_run_epsilon(guessed, delta=1e-5, confidence=0.95) == 0.0


def test_more_canaries_per_guess_and_a_larger_delta_show_less() -> None:
    def bound(canaries: int, delta: float) -> float:
        guessed = Guessed(canaries=canaries, guesses=100, correct=95)
        return one_run_epsilon(guessed, delta=delta, confidence=0.95)

    assert bound(100, 1e-5) > bound(10_000, 1e-5) > bound(10_000, 1e-4) > 0
    assert bound(100, 0.0) == bound(10_000, 0.0)


def test_all_right_of_many_is_bounded_by_what_they_can_show() -> None:
    # 0.05^(1/r) = e^eps / (1 + e^eps)
    guessed = Guessed(canaries=1000, guesses=1000, correct=1000)
    chance = 0.05 ** (1 / 1000)
    exact = math.log(chance / (1 - chance))
    bound = one_run_epsilon(guessed, delta=0.0, confidence=0.95)
    assert exact - 1e-3 <= bound <= exact


@pytest.mark.parametrize(("epsilon", "delta"), [(-0.1, 0.1), (float("nan"), 0.1), (1.0, 1.1)])
def test_refuses_what_is_no_guarantee(epsilon: float, delta: float) -> None:
    guessed = Guessed(canaries=10, guesses=5, correct=5)
    with pytest.raises(ValueError, match="no \\(epsilon, delta\\)"):
        p_value(guessed, epsilon=epsilon, delta=delta)
