from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.common.study.evaluation_groups import evaluation_groups


def study(*, minimum_sites: int = 2, **evaluation: Any) -> Study:
    return Study.model_validate(
        {
            "about": {"name": "tiny", "title": "Tiny"},
            "features": [{"kind": "numeric", "name": "age", "unit": "a", "range": (0, 120)}],
            "target": {"name": "sick", "positive": ["1"], "negative": ["0"]},
            "cohort": {"expected_patients": 500, "minimum_sites": minimum_sites},
            "model": {"name": "logistic_regression"},
            "training": {"method": "distributed", "rounds": 40, "learning_rate": 1.0},
            "privacy": {"epsilon": 1.0, "delta": 1e-5},
            "evaluation": evaluation,
        }
    )


TWO = {"south": ("s2", "s1"), "north": ("n1", "n2")}


def test_without_groups_all_sites_are_one() -> None:
    assert evaluation_groups(study(), ["b", "a", "c"]) == {"all": ("a", "b", "c")}


def test_named_groups_and_the_others() -> None:
    roster = ["x", "n1", "s1", "n2", "a", "s2"]
    groups = evaluation_groups(study(groups=TWO), roster)
    assert groups == {"south": ("s1", "s2"), "north": ("n1", "n2"), "others": ("a", "x")}


def test_no_others_if_every_site_is_named() -> None:
    groups = evaluation_groups(study(groups=TWO), ["n1", "s1", "n2", "s2"])
    assert set(groups) == {"south", "north"}


def test_too_few_others_are_refused() -> None:
    with pytest.raises(InputError, match=r"leave 1 of the roster's sites \(x\) for 'others'"):
        evaluation_groups(study(groups=TWO), ["n1", "s1", "n2", "s2", "x"])
    three = {"named": ("a", "b", "c")}
    with pytest.raises(InputError, match=r"fewer than cohort\.minimum_sites = 3"):
        evaluation_groups(study(groups=three, minimum_sites=3), ["a", "b", "c", "x", "y"])


def test_a_site_that_the_roster_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="name the site 's2', which is not in the roster"):
        evaluation_groups(study(groups=TWO), ["n1", "s1", "n2", "t2"])


def test_pooled_data_are_one_group() -> None:
    assert evaluation_groups(study(groups=TWO), ["pooled"]) == {"all": ("pooled",)}


def test_nothing_is_grouped_if_nothing_is_released() -> None:
    assert evaluation_groups(study(release=False, per_site=True), ["a", "b"]) == {}


@given(
    places=st.lists(st.sampled_from(["one", "two", "rest"]), min_size=2, max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_every_site_is_in_exactly_one_group(places: list[str], order: Any) -> None:
    named: dict[str, list[str]] = {}
    for number, place in enumerate(places):
        if place != "rest":
            named.setdefault(place, []).append(f"s{number}")
    roster = [f"s{number}" for number in range(len(places))]
    order.shuffle(roster)
    if any(len(sites) < 2 for sites in named.values()) or places.count("rest") == 1:
        return
    groups = evaluation_groups(study(groups=named), roster)
    members = [site for sites in groups.values() for site in sites]
    assert sorted(members) == sorted(roster)
    assert all(len(sites) >= 2 and list(sites) == sorted(sites) for sites in groups.values())
    # Two parties that list the roster in another order agree.
    assert evaluation_groups(study(groups=named), sorted(roster)) == groups
