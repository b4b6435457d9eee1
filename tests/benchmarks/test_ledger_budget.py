from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_budget import (
    COHORT,
    Checks,
    Replay,
    TimedCheck,
    earlier_releases,
    findings_of,
    new_study,
    policy_of,
    round_of,
)

from fedward.client.vault.charges import ChargeCounts
from fedward.client.vault.policy import Refused

CHECKS = Checks(case="far", checks=(9.0, 0.002, 0.004), reservations=(0.006,), refused=False)
ENDED = Checks(case="near", checks=(9.0, 0.003, 0.9), reservations=(), refused=True)
REPLAY = Replay(
    distinct=50,
    sampled=40,
    epsilon=1.5,
    prv=(1.49, 1.51),
    rdp=1.6,
    pld_seconds=1.0,
    seconds=9.0,
)


def test_neither_the_first_check_nor_a_refusal_is_held_against_a_round() -> None:
    found = findings_of((CHECKS, ENDED), REPLAY)

    assert [target.value for target in found.targets] == [4.0, 1.0]
    assert all(target.met for target in found.targets)
    slow = replace(CHECKS, checks=(9.0, 0.002, 0.051))
    assert not findings_of((slow, ENDED), REPLAY).targets[0].met


def test_accountants_that_do_not_agree_miss_the_target() -> None:
    found = findings_of((CHECKS, ENDED), replace(REPLAY, prv=None, rdp=None))

    assert not found.targets[1].met
    assert "did not confirm it" in found.tables[1].rows[0]


def test_what_is_measured_is_the_gates_own_check_over_many_different_releases() -> None:
    counts = ChargeCounts(earlier_releases(400))
    study = new_study()
    check = TimedCheck(study, policy_of(0.0, 0.0))

    with pytest.raises(Refused, match=f"of cohort {COHORT}"):
        check(round_of(study, check.plan, 1), counts)

    assert len(check.seconds) == 1
    studies = counts.of_cohort(COHORT)
    assert len(studies) == 40
    distinct = {charge.event for charges in studies.values() for charge in charges}
    assert len(distinct) == 80
    assert sum(sum(charges.values()) for charges in studies.values()) == 400
