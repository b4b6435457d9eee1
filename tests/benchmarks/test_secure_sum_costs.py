from __future__ import annotations

import pytest
from secure_sum_costs import (
    STEPS,
    AddingTask,
    SiteCost,
    SiteTask,
    adding_cost,
    bare_aes,
    site_cost,
)
from secure_sum_setup import HIDDEN, federation_of, sessions_of, study_of

from fedward.common.study.dimensions import Dimensions


@pytest.mark.parametrize("length", HIDDEN)
def test_the_study_has_sums_of_exactly_the_length_and_no_other_sums(length: int) -> None:
    dimensions = Dimensions.of(study_of(length))
    assert dimensions.parameters == length
    assert (dimensions.moments, dimensions.counts) == (0, 0)


def test_a_site_joins_by_itself_what_all_join_together() -> None:
    federation = federation_of(3)
    sessions = sessions_of(federation, study_digest="0" * 64, members=["site-001"])
    assert list(sessions) == ["site-001"]
    assert sessions["site-001"].participants == federation.roster.names


def test_every_step_of_every_release_is_timed() -> None:
    cost = site_cost(SiteTask(sites=3, length=1000, repeats=2))
    assert tuple(cost.steps) == STEPS
    assert all(len(times) == 2 for times in cost.steps.values())
    assert len(cost.totals) == len(cost.floor) == 2


def test_totals_add_the_steps_and_the_ratio_is_that_of_medians() -> None:
    steps = {"encode": [1.0, 2.0, 3.0], "masks": [4.0, 6.0, 50.0]}
    cost = SiteCost(sites=2, length=1, steps=steps, floor=[3.0, 1.0, 9.0])
    assert cost.totals == [5.0, 8.0, 53.0]
    assert cost.over_floor == 2.0


def test_the_floor_takes_every_byte_whatever_is_taken_at_a_time() -> None:
    assert bare_aes(10) >= 0
    assert bare_aes(2**20 + 5) > 0


def test_memory_of_the_sum_does_not_grow_with_the_sites() -> None:
    costs = [adding_cost(AddingTask(sites=sites, length=10**5, repeats=1)) for sites in (2, 8)]
    few, many = (cost.peak_bytes for cost in costs)
    # The sum and one release, which is made here too; six more would be 4.8 MB.
    assert many - few < 400_000
    assert few < 3_200_000
    assert all(len(cost.adding) == len(cost.verifying) == 1 for cost in costs)
