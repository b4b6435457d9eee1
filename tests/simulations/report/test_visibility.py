from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.simulations.report.visibility import sights_of
from fedward.simulations.results import ExperimentResult

Maker = Callable[..., ExperimentResult]

PART = "One hospital's part of a sum"
LOST = "The answers of the others to an attempt that was lost"
ONE_HOSPITAL = "How the held-out patients of one hospital are predicted"
NOISE = "The noise"
NEVER = (
    "A patient's record, outcome, gradient or prediction",
    "An exact count, loss or figure",
    "How many patients a hospital has, and how many of them are ill",
)


def seen(result: ExperimentResult) -> dict[str, bool]:
    return {row.what: row.seen for row in sights_of(result)}


def why(result: ExperimentResult, what: str) -> str:
    return next(row.why for row in sights_of(result) if row.what == what)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"masked": False},
        {"drop_out": 0.1},
        {"per_site": True},
        {"counts": False},
        {"insecure": 3},
        {"groups": {"east": [0, 1], "others": [2, 3]}},
    ],
)
def test_what_is_seen_comes_first_and_nothing_twice(
    experiment: Maker, changes: dict[str, Any]
) -> None:
    rows = sights_of(experiment(epsilons=(1.0,), **changes))
    order = [row.seen for row in rows]

    assert order == sorted(order, reverse=True)
    assert len({row.what for row in rows}) == len(rows)
    assert all(row.why.endswith(".") for row in rows)
    found = {row.what: row.seen for row in rows}
    assert [found[what] for what in NEVER] == [False] * len(NEVER)


def test_masks_hide_what_one_hospital_sends(experiment: Maker) -> None:
    masked, bare = (experiment(masked=masked, epsilons=(1.0,)) for masked in (True, False))

    assert seen(masked)[PART] is False
    assert seen(bare)[PART] is True
    assert "ε alone is the number" in why(bare, PART)
    assert "The keys of the masks" not in seen(bare)


def test_drop_outs_show_who_failed_and_masks_hide_the_others(experiment: Maker) -> None:
    calm, stormy, bare = (
        experiment(epsilons=(1.0,), **changes)
        for changes in ({}, {"drop_out": 0.1}, {"drop_out": 0.1, "masked": False})
    )

    assert LOST not in seen(calm)
    assert seen(stormy)[LOST] is False
    assert seen(bare)[LOST] is True
    assert seen(stormy)["Which hospital failed to answer, and when"] is True
    assert "a chance of 10 %" in why(stormy, "Which hospital failed to answer, and when")


def test_a_hospital_is_judged_by_itself_only_where_it_was_asked_for(experiment: Maker) -> None:
    assert seen(experiment(epsilons=(1.0,)))[ONE_HOSPITAL] is False
    alone = experiment(per_site=True, epsilons=(1.0,))
    assert seen(alone)[ONE_HOSPITAL] is True
    assert "through noise" in why(alone, NEVER[2])


def test_noise_from_a_known_seed_is_seen(experiment: Maker) -> None:
    assert seen(experiment(epsilons=(1.0,)))[NOISE] is False
    insecure = seen(experiment(insecure=0, epsilons=(1.0,)))
    assert insecure[NOISE] is True
    assert insecure["The keys of the masks"] is True


def test_groups_are_named(experiment: Maker) -> None:
    grouped = experiment(groups={"east": [0, 1], "others": [2, 3]}, epsilons=(1.0,))
    assert (
        "How held-out patients are predicted, over each group of hospitals (east, others)"
        in seen(grouped)
    )
    assert "How held-out patients are predicted, over all hospitals" in seen(
        experiment(epsilons=(1.0,))
    )


def test_without_a_private_federation_there_is_nothing_to_say(experiment: Maker) -> None:
    result = experiment(epsilons=(1.0,))
    pooled = [arm for arm in result.arms if arm.kind in {"pooled", "pooled_private", "federated"}]
    assert sights_of(result.model_copy(update={"arms": pooled})) == ()
