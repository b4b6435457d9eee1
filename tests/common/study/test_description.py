from __future__ import annotations

from typing import Any

import pytest

from fedward.common.study.definition import Study
from fedward.common.study.description import (
    describe_evaluation,
    describe_model,
    describe_privacy,
    describe_scaling,
    describe_statistics,
    describe_training,
    described,
    while_few_cheat,
)
from fedward.common.study.loading import find_study, load_study


def study(name: str, **tables: Any) -> Study:
    document = load_study(find_study(name)).model_dump()
    return Study.model_validate(document | tables)


def test_each_topic_comes_once() -> None:
    topics = [topic for topic, _ in described(study("heart_disease"), columns=15)]
    assert topics == [
        "target",
        "cohort",
        "scaling",
        "model",
        "training",
        "statistics",
        "privacy",
        "evaluation",
    ]


def test_scaling_names_its_share_of_the_budget() -> None:
    moments = {"method": "private_moments", "budget_share": 0.25}
    assert "25% of the privacy budget" in describe_scaling(study("heart_disease", scaling=moments))
    public = {"method": "public_range"}
    assert describe_scaling(study("heart_disease", scaling=public)) == "the public ranges alone"


def test_training_in_words() -> None:
    full = {"method": "distributed", "rounds": 7, "learning_rate": 2.0}
    text = describe_training(study("heart_disease", training=full))
    assert text == (
        "7 rounds, each one noised gradient sum over all patients of all sites "
        "(learning rate 2, momentum 0, constant schedule)"
    )
    poisson = full | {"batch": "poisson", "sampling_rate": 0.1}
    assert "a random 0.1 of the patients" in describe_training(
        study("heart_disease", training=poisson)
    )
    local = {
        "method": "local",
        "rounds": 3,
        "epochs": 2,
        "learning_rate": 1.0,
        "sampling_rate": 0.25,
    }
    alone = {"epsilon": 1.0, "delta": 1e-5, "trust": "none"}
    text = describe_training(study("heart_disease", training=local, privacy=alone))
    assert "3 rounds of DP-SGD at each site, 8 steps a round" in text


def test_model_options_are_told() -> None:
    model = {"name": "mlp", "options": {"hidden": [4, 2]}}
    assert describe_model(study("heart_disease", model=model)) == "mlp (hidden = [4, 2])"


@pytest.mark.parametrize(
    ("colluding", "words"),
    [
        (0, "while no site cheats"),
        (1, "while at most 1 site cheats"),
        (2, "while at most 2 sites cheat"),
    ],
)
def test_privacy_says_against_whom(colluding: int, words: str) -> None:
    assert while_few_cheat(colluding) == words
    cohort = {"expected_patients": 486, "minimum_sites": 3}
    privacy = {"epsilon": 1.0, "delta": 1e-4, "colluding": colluding}
    text = describe_privacy(study("heart_disease", cohort=cohort, privacy=privacy))
    assert text.startswith("epsilon at most 1 at delta 0.0001, clip 1; ")
    assert text.endswith(words)


@pytest.mark.parametrize(
    ("spares", "words"),
    [
        (1, "clip 1, 1 sum of each kind to spare for drop-outs; noise"),
        (7, "clip 1, 7 sums of each kind to spare for drop-outs; noise"),
    ],
)
def test_spare_attempts_are_told(spares: int, words: str) -> None:
    privacy = {"epsilon": 1.0, "delta": 1e-4, "spare_attempts": spares}
    assert words in describe_privacy(study("heart_disease", privacy=privacy))


def test_statistics_name_their_share_or_their_absence() -> None:
    assert describe_statistics(study("heart_disease")) == "none"
    text = describe_statistics(study("breast_cancer"))
    assert text == "noised numbers of training patients by outcome, for 2% of the privacy budget"


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ({}, "released: one noised sum over all sites"),
        (
            {"per_site": True},
            "released: one noised sum over all sites and a noised sum of each site by itself",
        ),
        ({"per_site": True, "release": False}, "released: a noised sum of each site by itself"),
        ({"release": False}, "nothing about them is released"),
        (
            {"groups": {"north": ("a", "b"), "south": ("c", "d", "e")}},
            "released: one noised sum for each of north (2 sites), south (3 sites) and any others",
        ),
    ],
)
def test_what_is_released_about_held_out_patients(evaluation: dict[str, Any], words: str) -> None:
    text = describe_evaluation(study("heart_disease", evaluation=evaluation))
    assert text.endswith(f"; {words}")
    assert text.startswith("20% of the patients of each site are held out; from a probability of 0")
