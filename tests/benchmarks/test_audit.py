from __future__ import annotations

from audit import Bounded, Run, Timed, findings_of

ANY, KIND = "steinke_nasr_jagielski_2023", "mahloujifar_melis_chaudhuri_2024"


def _bounded(epsilon: float, *, anything: float, kind: float, alone: float = 3.0) -> Bounded:
    return Bounded(
        run=Run(epsilon=epsilon, seed=0),
        claimed={"epsilon": epsilon, "epsilon_alone": 2 * epsilon},
        bounds={
            "epsilon": {ANY: anything, KIND: kind},
            "epsilon_alone": {ANY: alone, KIND: alone},
        },
    )


def _verdicts(times: list[Timed], found: list[Bounded]) -> list[bool]:
    return [target.met for target in findings_of(times, found).targets]


def test_targets_are_judged_by_the_higher_bound_of_every_run() -> None:
    times = [Timed(wall=20.0, cpu=9.0, passed=True), Timed(wall=59.0, cpu=9.0, passed=True)]
    good = [_bounded(4.0, anything=2.5, kind=2.3), _bounded(4.0, anything=1.0, kind=2.6)]
    assert _verdicts(times, good) == [True] * 5
    low = [*good, _bounded(4.0, anything=1.0, kind=2.1)]
    assert _verdicts(times, low) == [True, True, False, True, True]
    high = [*good, _bounded(4.0, anything=4.1, kind=2.5)]
    assert _verdicts(times, high) == [True, True, True, False, False]
    slow = [*times, Timed(wall=61.0, cpu=9.0, passed=True)]
    assert _verdicts(slow, good) == [False, True, True, True, True]


def test_other_claims_count_for_being_exceeded_alone() -> None:
    times = [Timed(wall=20.0, cpu=9.0, passed=True)]
    found = [
        _bounded(4.0, anything=2.5, kind=2.3),
        _bounded(1.0, anything=0.3, kind=0.4, alone=2.5),
    ]
    assert _verdicts(times, found) == [True, True, True, True, False]
    table = findings_of(times, found).tables[1]
    # Claimed 1 first, then 4, and both claims of each.
    assert [row[:3] for row in table.rows] == [
        ("epsilon", "1", "1"),
        ("epsilon_alone", "2", "1"),
        ("epsilon", "4", "1"),
        ("epsilon_alone", "8", "1"),
    ]
