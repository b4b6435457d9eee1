from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.audits.empirical.guesses import Guessed, GuessPlan


def test_says_in_of_the_highest_and_out_of_the_lowest() -> None:
    scores = np.array([0.3, -2.0, 5.0, 0.1, -1.0])
    included = np.array([True, True, True, False, False])
    # Highest 2: canaries 2 and 0, both in. Lowest 2: canaries 1 (in, so wrong) and 4 (out).
    found = GuessPlan(highest=2, lowest=2).made(scores, included)
    assert found == Guessed(canaries=5, guesses=4, correct=3, sides=2)


def test_one_side_is_marked_as_such() -> None:
    scores, included = np.arange(4.0), np.array([False, False, True, True])
    assert GuessPlan(highest=2, lowest=0).made(scores, included).sides == 1
    assert GuessPlan(highest=0, lowest=2).made(scores, included).sides == 1


@given(
    included=st.lists(st.booleans(), min_size=1, max_size=30),
    data=st.data(),
)
def test_right_and_wrong_add_up_over_inverted_coins(
    included: list[bool], data: st.DataObject
) -> None:
    coins = np.array(included)
    scores = np.array(
        data.draw(st.lists(st.floats(-5, 5), min_size=len(coins), max_size=len(coins)))
    )
    highest = data.draw(st.integers(0, len(coins)))
    lowest = data.draw(st.integers(0 if highest else 1, len(coins) - highest or 1))
    if highest + lowest > len(coins):
        lowest = len(coins) - highest
    plan = GuessPlan(highest=highest, lowest=lowest)
    right, inverted = plan.made(scores, coins), plan.made(scores, ~coins)
    assert right.correct + inverted.correct == plan.guesses


@pytest.mark.parametrize(("highest", "lowest"), [(0, 0), (-1, 2), (2, -1)])
def test_a_plan_guesses_something(highest: int, lowest: int) -> None:
    with pytest.raises(ValueError, match="at least one guess"):
        GuessPlan(highest=highest, lowest=lowest)


def test_refuses_more_guesses_than_canaries_and_unequal_lengths() -> None:
    plan = GuessPlan(highest=2, lowest=2)
    with pytest.raises(ValueError, match="4 guesses about 3 canaries"):
        plan.made(np.zeros(3), np.zeros(3, dtype=np.bool_))
    with pytest.raises(ValueError, match="expected"):
        plan.made(np.zeros(5), np.zeros(4, dtype=np.bool_))


@pytest.mark.parametrize(
    "counts",
    [
        {"canaries": 5, "guesses": 6, "correct": 1},
        {"canaries": 5, "guesses": 3, "correct": 4},
        {"canaries": 5, "guesses": 3, "correct": -1},
        {"canaries": 5, "guesses": 3, "correct": 1, "sides": 3},
    ],
)
def test_refuses_impossible_counts(counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"correct|sides"):
        Guessed(**counts)
