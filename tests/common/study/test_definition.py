"""What a study may say about statistics, spare attempts and the evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fedward.common.study.definition import Study


def study(*, minimum_sites: int = 2, **tables: Any) -> Study:
    document: dict[str, Any] = {
        "about": {"name": "tiny", "title": "Tiny"},
        "features": [{"kind": "numeric", "name": "age", "unit": "a", "range": (0, 120)}],
        "target": {"name": "sick", "positive": ["1"], "negative": ["0"]},
        "cohort": {"expected_patients": 500, "minimum_sites": minimum_sites},
        "model": {"name": "logistic_regression"},
        "training": {"method": "distributed", "rounds": 40, "learning_rate": 1.0},
        "privacy": {"epsilon": 1.0, "delta": 1e-5},
    }
    return Study.model_validate(document | tables)


def test_by_default_the_evaluation_is_released_and_nothing_else_is_asked() -> None:
    plain = study()
    assert plain.statistics is None
    assert plain.privacy.spare_attempts == 0
    assert (plain.evaluation.release, plain.evaluation.per_site) == (True, False)
    assert plain.evaluation.groups == {}
    assert plain.evaluation.score_bins == 20
    assert study(statistics={}).statistics is not None


@pytest.mark.parametrize(
    "tables",
    [
        {"statistics": {}},
        {"statistics": {"budget_share": 0.03}},
        {"evaluation": {"release": False}},
        {"evaluation": {"per_site": True}},
        {"evaluation": {"score_bins": 21}},
        {"evaluation": {"groups": {"a": ["x", "y"]}}},
        {"evaluation": {"groups": {"a": ["x", "z"]}}},
        {"privacy": {"epsilon": 1.0, "delta": 1e-5, "spare_attempts": 1}},
    ],
)
def test_every_new_value_is_in_the_digest(tables: dict[str, Any]) -> None:
    assert study(**tables).digest != study().digest


def test_groups_may_be_any_disjoint_sets_of_enough_sites() -> None:
    groups = {"north": ["B.1", "a_2", "C"], "south": ["Z-9", "9"]}
    made = study(evaluation={"groups": groups})
    assert made.evaluation.groups == {"north": ("B.1", "a_2", "C"), "south": ("Z-9", "9")}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": ["x", "y"], "b": ["y", "z"]}, "hold site 'y' twice, in 'a' and in 'b'"),
        ({"a": ["x", "y", "x"]}, "hold site 'x' twice, in 'a' and in 'a'"),
        ({"a": ["x", "y"], "b": ["z"]}, "evaluation.groups.b has 1 sites"),
        ({"a": []}, "evaluation.groups.a has 0 sites"),
        ({"all": ["x", "y"]}, "cannot have the name 'all'"),
        ({"others": ["x", "y"]}, "cannot have the name 'others'"),
        ({"A": ["x", "y"]}, "pattern"),
        ({"a": ["x", "-y"]}, "pattern"),
        ({"a": ["x", "y" * 65]}, "pattern"),
    ],
)
def test_other_groups_are_refused(groups: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        study(evaluation={"groups": groups})


def test_a_group_needs_as_many_sites_as_the_study() -> None:
    groups = {"a": ["x", "y"]}
    with pytest.raises(ValidationError, match=r"cohort\.minimum_sites = 3"):
        study(minimum_sites=3, evaluation={"groups": groups})
    assert study(minimum_sites=2, evaluation={"groups": groups}).evaluation.groups


def test_groups_that_are_never_summed_are_refused() -> None:
    evaluation = {"groups": {"a": ["x", "y"]}, "release": False}
    with pytest.raises(ValidationError, match="groups without release"):
        study(evaluation=evaluation)


@pytest.mark.parametrize("bins", [1, 1001])
def test_the_histogram_has_2_to_1000_bins(bins: int) -> None:
    with pytest.raises(ValidationError, match="score_bins"):
        study(evaluation={"score_bins": bins})


@pytest.mark.parametrize("spares", [-1, 1001])
def test_spare_attempts_are_0_to_1000(spares: int) -> None:
    with pytest.raises(ValidationError, match="spare_attempts"):
        study(privacy={"epsilon": 1.0, "delta": 1e-5, "spare_attempts": spares})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_statistics_have_a_true_share(share: float) -> None:
    with pytest.raises(ValidationError, match="budget_share"):
        study(statistics={"budget_share": share})


def test_training_keeps_a_share_of_the_budget() -> None:
    moments = {"method": "private_moments", "budget_share": 0.25}
    with pytest.raises(ValidationError, match="add up to 1, must be below 1"):
        study(scaling=moments, statistics={"budget_share": 0.75})
    assert study(scaling=moments, statistics={"budget_share": 0.74}).statistics
    # An unused share does not count.
    unused = {"method": "public_range", "budget_share": 0.25}
    assert study(scaling=unused, statistics={"budget_share": 0.75}).statistics
