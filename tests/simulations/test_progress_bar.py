from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from fedward.common.study.definition import Study
from fedward.simulations.arms import Arm, arms_of
from fedward.simulations.progress_bar import progress_bar
from fedward.simulations.seed_run import Progress

MakeStudy = Callable[..., Study]


def shown(total: int, done: int, steps: list[Progress]) -> str:
    """All that was ever on the terminal."""
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=200, color_system=None)
    with progress_bar(console, total_rounds=total, done_rounds=done) as on_progress:
        for step in steps:
            on_progress(step)
    return terminal.getvalue()


def last_percentage(text: str) -> int:
    return int(re.findall(r"(\d+) %", text)[-1])


@pytest.fixture
def arms(study: Study) -> tuple[Arm, ...]:
    return arms_of(study, epsilons=(1.0,))


def steps_of(arm: Arm, first: int, last: int, *, seed: int = 0) -> list[Progress]:
    return [
        Progress(arm=arm, seed=seed, round=number, epsilon=None)
        for number in range(first, last + 1)
    ]


def test_it_says_what_is_trained_and_what_was_spent(arms: tuple[Arm, ...]) -> None:
    step = Progress(arm=arms[-1], seed=3, round=2, epsilon=0.4567)
    text = shown(4, 0, [step])

    assert "federated, distributed DP (epsilon 1): seed 3, round 2/4, epsilon so far 0.457" in text


def test_an_arm_without_privacy_shows_no_epsilon(arms: tuple[Arm, ...]) -> None:
    text = shown(4, 0, steps_of(arms[1], 0, 1))

    assert "pooled, not private: seed 0, round 1/4" in text
    assert "epsilon" not in text


def test_it_ends_full(arms: tuple[Arm, ...]) -> None:
    # Three hospitals alone, one after the other, then the pooled model.
    steps = [*(steps_of(arms[0], 0, 4) * 3), *steps_of(arms[1], 0, 4)]

    assert last_percentage(shown(16, 0, steps)) == 100
    assert last_percentage(shown(32, 0, steps)) == 50


@pytest.mark.parametrize("resumed_at", range(5))
def test_it_ends_full_when_a_training_is_resumed(arms: tuple[Arm, ...], resumed_at: int) -> None:
    # The first call of a training tells the round that it is resumed from.
    steps = [*steps_of(arms[1], resumed_at, 4), *steps_of(arms[2], 0, 4)]

    assert last_percentage(shown(12, 4, steps)) == 100


@pytest.mark.parametrize("resumed_at", range(5))
def test_it_ends_full_when_the_second_of_three_hospitals_is_resumed(
    arms: tuple[Arm, ...], resumed_at: int
) -> None:
    steps = [
        *steps_of(arms[0], 4, 4),
        *steps_of(arms[0], resumed_at, 4),
        *steps_of(arms[0], 0, 4),
    ]

    assert last_percentage(shown(12, 0, steps)) == 100


def test_seeds_done_before_count_from_the_start(arms: tuple[Arm, ...]) -> None:
    assert last_percentage(shown(16, 4, steps_of(arms[1], 0, 0))) == 25
