from __future__ import annotations

from collections.abc import Callable

from fedward.simulations.report.measured import (
    columns_of,
    counted_rows,
    measured_rows,
    measured_seed,
    named_groups,
)
from fedward.simulations.results import ExperimentResult

Maker = Callable[..., ExperimentResult]
GROUPS = {"east": [0, 1], "others": [2, 3]}


def test_rows_are_of_the_first_seed_of_each_private_federation(experiment: Maker) -> None:
    result = experiment(epsilons=(1.0, 3.0))
    rows = measured_rows(result, "groups")

    assert measured_seed(result) == 0
    assert [(row.arm.kind, row.arm.target_epsilon) for row in rows] == [
        (kind, epsilon)
        for kind in ("federated_local", "federated_distributed")
        for epsilon in (1.0, 3.0)
    ]
    for row in rows:
        assert row.figures == row.arm.charged_evaluation[0].groups[0].figures
    assert columns_of(rows) == ["patients", "accuracy", "auroc", "brier"]
    assert not named_groups(rows)


def test_groups_and_sites_have_rows_of_their_own(experiment: Maker) -> None:
    result = experiment(epsilons=(1.0, 3.0), groups=GROUPS, per_site=True)
    groups, sites = measured_rows(result, "groups"), measured_rows(result, "by_site")

    assert [row.name for row in groups] == ["east", "others"] * 4
    assert named_groups(groups)
    assert [row.name for row in sites] == [site.name for site in result.sites] * 2
    assert {row.arm.target_epsilon for row in sites} == {1.0}


def test_counts_are_there_if_they_were_asked_for(experiment: Maker) -> None:
    counted = counted_rows(experiment(epsilons=(1.0,)))

    assert columns_of(counted) == ["positive", "negative"]
    assert counted_rows(experiment(epsilons=(1.0,), counts=False)) == []


def test_nothing_was_measured_without_a_private_federation(experiment: Maker) -> None:
    result = experiment(wire=False, epsilons=(1.0,))

    assert measured_seed(result) is None
    assert measured_rows(result, "groups") == measured_rows(result, "by_site") == []
