"""Whether guesses at patients are better than those of an attacker who saw pure noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.attacks import inversion_verdict
from fedward.audits.attacks.inversion_verdict import NULL_RUNS, beyond_noise, explained, matched

Shares = NDArray[np.float64]


def blind(generator: np.random.Generator, scale: float = 0.1) -> Shares:
    """Best shares of attacks that saw nothing."""
    return scale * generator.random(NULL_RUNS)


@pytest.mark.parametrize("shares", [(1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.2, 0.0)])
def test_some_patients_found_is_a_success_however_many_were_not(shares: tuple[float, ...]) -> None:
    generator = np.random.default_rng(0)
    assert beyond_noise(np.array(shares), iter([blind(generator)]))


@pytest.mark.parametrize("shares", [(0.0, 0.0, 0.0, 0.0), (0.08, 0.09, 0.09, 0.08)])
def test_what_an_attack_on_noise_reaches_is_no_success(shares: tuple[float, ...]) -> None:
    null = np.append(blind(np.random.default_rng(0))[:-1], 0.0999)
    assert not beyond_noise(np.array(shares), iter([null]))


def test_once_noise_did_as_well_no_more_of_it_is_tried() -> None:
    tried = iter([np.array([0.1, 0.5]), np.array([0.0])])
    assert not beyond_noise(np.array([0.5, 0.0]), tried)
    assert next(tried) == 0.0


def test_too_short_a_null_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="999"):
        beyond_noise(np.array([1.0]), iter([np.zeros(NULL_RUNS - 1)]))


def test_sums_that_say_nothing_alarm_one_time_in_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen patients are attacked; the error is that of all of them together."""
    monkeypatch.setattr(inversion_verdict, "NULL_RUNS", 99)
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(3000):
        null = generator.random((99, 16)).max(axis=1)
        alarms += beyond_noise(generator.random(16), iter([null]))
    # 30 are expected; five standard deviations to either side.
    assert 3 <= alarms <= 57


def test_a_patient_is_explained_by_the_guess_that_belongs_to_it() -> None:
    records = np.array([[1.0, 0.0], [0.0, 1.0]])
    guess = np.array([[0.0, 1.0], [-1.0, -1.0]])
    average = np.zeros(2)

    assert matched(guess, records).tolist() == [[-1.0, -1.0], [0.0, 1.0]]
    assert explained(matched(guess, records), records, average).tolist() == [0.0, 1.0]
