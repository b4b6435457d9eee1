from __future__ import annotations

import numpy as np
import pytest
from hyperparameter_selection import (
    COLUMNS,
    TIE,
    Choice,
    chosen,
    generated_study,
    grid,
    ranking,
    shipped,
)

from fedward.common.study.definition import DistributedTraining
from fedward.common.study.loading import find_study, load_study


def _choice(rate: float) -> Choice:
    return Choice(rounds=20, learning_rate=rate, clip=1.0, feature_clip=3.0)


def test_grid_has_the_shipped_setting_once_and_stays_small() -> None:
    choices = grid()
    assert choices.count(shipped()) == 1
    assert len(set(choices)) == len(choices) <= 48


def test_shipped_setting_rebuilds_the_shipped_study() -> None:
    study = load_study(find_study("breast_cancer"))
    rebuilt = shipped().study(epsilon=study.privacy.epsilon)
    for table in ("training", "privacy", "scaling", "model", "cohort"):
        assert getattr(rebuilt, table) == getattr(study, table), table
    assert len(rebuilt.features) == COLUMNS == len(study.features)


def test_a_choice_reaches_the_study() -> None:
    study = Choice(rounds=20, learning_rate=0.3, clip=2.0, feature_clip=100.0).study(epsilon=1.9)
    assert isinstance(study.training, DistributedTraining)
    assert (study.training.rounds, study.training.average_last) == (20, 7)
    assert study.training.learning_rate == 0.3
    assert (study.privacy.clip, study.privacy.epsilon) == (2.0, 1.9)
    assert study.scaling.feature_clip == 100.0
    assert study.features == generated_study().features


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.90, 0.95, 0.93], 1),
        ([0.95 - TIE / 2, 0.94, 0.95], 0),
        ([0.95 - 2 * TIE, 0.95 - TIE / 2, 0.95], 1),
        ([0.95 - 2 * TIE, 0.90, 0.95], 2),
    ],
)
def test_rule_takes_the_smallest_rate_of_those_tied_with_the_best(
    scores: list[float], expected: int
) -> None:
    choices = [_choice(0.3), _choice(0.6), _choice(1.2)]
    assert chosen(choices, np.array(scores)) == expected


def test_rule_takes_the_better_of_two_with_the_same_rate() -> None:
    choices = [_choice(0.3), _choice(0.3), _choice(1.2)]
    assert chosen(choices, np.array([0.9498, 0.9499, 0.95])) == 1


def test_ranking_says_where_the_shipped_setting_stands() -> None:
    choices = [_choice(0.3), _choice(0.6), _choice(1.2)]
    generator = np.random.default_rng(0)
    scores = np.array([0.90, 0.95, 0.94])[None, :, None] + generator.normal(0, 0.001, (50, 3, 3))
    findings = ranking(choices, scores, mine=choices[2])
    rows = findings.tables[0].rows
    assert [row[0] for row in rows] == ["1", "2 (shipped)", "3"]
    assert [row[2] for row in rows] == ["0.6", "1.2", "0.3"]
    assert any("is number 2 of 3" in note for note in findings.notes)
    assert any("picks another setting" in note for note in findings.notes)
    again = ranking(choices, scores, mine=choices[1])
    assert any("picks the shipped setting" in note for note in again.notes)
