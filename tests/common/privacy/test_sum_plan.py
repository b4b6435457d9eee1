from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind, SumPlan, Trust, honest_sites


@pytest.mark.parametrize(
    "change",
    [{"clip": 0.0}, {"clip": math.inf}, {"share_multiplier": 6.0}, {"count": 0}],
)
def test_impossible_sums_are_refused(change: dict[str, float]) -> None:
    good = {
        "clip": 1.0,
        "sampling_rate": 1.0,
        "count": 1,
        "noise_multiplier": 5.0,
        "share_multiplier": 5.0,
    }
    SumPlan(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"clip|share_multiplier|count"):
        SumPlan(**{**good, **change})  # type: ignore[arg-type]


def test_shares_of_honest_sites_make_up_the_noise_of_the_sum() -> None:
    plan = SumPlan(clip=1.0, sampling_rate=0.5, count=2, noise_multiplier=6.0, share_multiplier=6.0)

    assert plan.shared_by(4) == replace(plan, share_multiplier=3.0)
    assert plan.shared_by(4).shared_by(1) == plan


@pytest.mark.parametrize(
    ("kind", "trust", "sites", "honest"),
    [
        ("training", "sites", 5, 3),
        ("training", "sites", 2, 1),
        ("training", "sites", 1, 1),
        ("training", "none", 5, 1),
        ("site_evaluation", "sites", 5, 1),
    ],
)
def test_noise_is_shared_where_sites_rely_on_each_other(
    kind: SumKind, trust: Trust, sites: int, honest: int
) -> None:
    assert honest_sites(kind, trust=trust, sites=sites, colluding=2) == honest


def test_events_are_at_the_noise_of_the_sum_and_of_a_share() -> None:
    plan = SumPlan(
        clip=0.5, sampling_rate=0.25, count=9, noise_multiplier=6.0, share_multiplier=3.0
    )
    assert plan.event(4) == GaussianEvent(noise_multiplier=6.0, sampling_rate=0.25, count=4)
    assert plan.event_alone() == GaussianEvent(noise_multiplier=3.0, sampling_rate=0.25)
