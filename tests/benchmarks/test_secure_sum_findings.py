from __future__ import annotations

import math
from dataclasses import replace

from flower_secagg import ALL_SHARES, SecAggTask
from secure_sum_accuracy import Comparison
from secure_sum_costs import STEPS, AddingCost, SiteCost
from secure_sum_exactness import Exactness
from secure_sum_findings import findings_of
from secure_sum_results import Cell, ManySites, Measurements
from secure_sum_rounds import OurRounds
from secure_sum_setup import RoundTime


def _times(*seconds: float) -> list[RoundTime]:
    return [RoundTime(wall=second, cpu=second) for second in seconds]


def _ours(*seconds: float, sums: tuple[str, ...] = ("a", "b")) -> OurRounds:
    return OurRounds(
        opening=_times(1.0)[0],
        rounds=_times(*seconds),
        sums=list(sums),
        stages={"masks": 1.0},
        release_bytes=10,
        peak_bytes=1000,
    )


def _cell(secagg: list[RoundTime] | str, *, shares: float = ALL_SHARES) -> Cell:
    task = SecAggTask(sites=16, parameters=10**4, shares=shares, rounds=2)
    return Cell(task=task, secagg=secagg, ours=_ours(9.0, 1.0, 3.0))


def _adding(sites: int, *, milliseconds: float, peak: int) -> AddingCost:
    return AddingCost(
        sites=sites, length=10, adding=[milliseconds], verifying=[5.0], peak_bytes=peak
    )


GOOD = Measurements(
    sites=[
        SiteCost(sites=16, length=10, steps={step: [10.0] for step in STEPS}, floor=[3.5]),
        SiteCost(sites=4, length=10, steps={step: [99.0] for step in STEPS}, floor=[3.5]),
    ],
    adding=[
        _adding(4, milliseconds=9e9, peak=100),
        _adding(64, milliseconds=300.0, peak=104),
    ],
    memory={4: _ours(1.0)},
    many=ManySites(sites=9, parameters=5, masked=_ours(1.0, 1.0), bare=_ours(1.0, 1.0)),
    cells=[_cell(_times(1.0, 2.5)), _cell(_times(1.0, 1.0), shares=3)],
    exact=Exactness(sums=7, equal=7, releases=20, elements=90, bare_elements=0),
    accuracy=[
        Comparison(
            data="made_up",
            epsilon=1.0,
            colluding=1,
            splits=2,
            draws=2,
            distributed=0.9,
            pooled=0.8985,
            gap=-0.0015,
            standard_error=0.0001,
            distributed_epsilon=1.0,
            pooled_epsilon=1.0,
        )
    ],
)


def test_targets_are_judged_by_medians_from_the_second_round_on() -> None:
    findings = findings_of(GOOD)
    values = [target.value for target in findings.targets]
    assert values == [40.0, 10 / 3.5, 300.0, 1.04, 1.0, 1.25, 1.0, 0.0015]
    assert all(target.met for target in findings.targets)
    assert not findings.not_measured


def test_what_misses_is_said() -> None:
    slow = {step: [10.5] for step in STEPS}
    bad = Measurements(
        sites=[SiteCost(sites=16, length=10, steps=slow, floor=[3.4])],
        adding=[
            _adding(4, milliseconds=1.0, peak=100),
            _adding(64, milliseconds=301.0, peak=150),
        ],
        memory={},
        many=replace(GOOD.many, bare=_ours(1.0, 1.0, sums=("a", "other"))),
        cells=[_cell(_times(9.0, 1.9))],
        exact=replace(GOOD.exact, equal=6),
        accuracy=[replace(GOOD.accuracy[0], gap=0.0021)],
    )
    assert [target.met for target in findings_of(bad).targets] == [False] * 8


def test_what_secagg_cannot_do_is_no_win() -> None:
    findings = findings_of(replace(GOOD, cells=[_cell("TimeoutError: too slow")]))
    target = next(target for target in findings.targets if "SecAgg+" in target.what)
    assert math.isnan(target.value)
    assert not target.met
    assert "TimeoutError: too slow" in findings.not_measured[0]


def test_fewer_shares_are_no_target_but_their_speed_is_told() -> None:
    findings = findings_of(GOOD)
    assert sum("SecAgg+" in target.what for target in findings.targets) == 1
    assert any(
        "16 sites x 10,000 parameters with 3 shares (0.50 times" in n for n in findings.notes
    )
