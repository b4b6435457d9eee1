from __future__ import annotations

from dataclasses import replace

import flower_secagg
import numpy as np
import pytest
from flower_secagg import (
    ALL_SHARES,
    THRESHOLD,
    SecAggTask,
    limited_secagg_rounds,
    secagg_rounds,
)
from secure_sum_exactness import ExactnessTask, exactness
from secure_sum_rounds import RoundsTask, our_rounds

from fedward.common.secure_sum.session import Session

TASK = RoundsTask(sites=3, parameters=1000, rounds=2, insecure_noise_seed=0)


def test_masks_leave_every_sum_as_it_is_and_noise_seeds_do_not() -> None:
    masked = our_rounds(TASK)
    assert len(masked.rounds) == len(set(masked.sums)) == 2
    assert masked.stages["masks"] > 0
    assert our_rounds(replace(TASK, masked=False)).sums == masked.sums
    assert our_rounds(replace(TASK, insecure_noise_seed=1)).sums != masked.sums


def test_memory_is_told_only_where_it_is_traced() -> None:
    assert our_rounds(replace(TASK, rounds=1)).peak_bytes is None
    traced = our_rounds(replace(TASK, rounds=1, traced=True))
    assert traced.peak_bytes is not None
    assert traced.peak_bytes > 8 * 1000


@pytest.mark.parametrize("shares", [ALL_SHARES, 3])
def test_flowers_rounds_end_with_the_average(shares: float) -> None:
    assert len(secagg_rounds(SecAggTask(sites=4, parameters=50, shares=shares, rounds=2))) == 2


def test_the_threshold_goes_with_the_shares() -> None:
    task = SecAggTask(sites=16, parameters=1, shares=ALL_SHARES, rounds=1)
    assert task.threshold == THRESHOLD
    assert [replace(task, shares=shares).threshold for shares in (3, 9)] == [2, 6]


def test_a_wrong_average_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_secagg, "CLIPPING_RANGE", 0.5)  # SecAgg+ clips silently
    with pytest.raises(RuntimeError, match="another average"):
        secagg_rounds(SecAggTask(sites=4, parameters=50, shares=ALL_SHARES, rounds=1))


def test_what_does_not_end_well_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_secagg.resource, "setrlimit", lambda *_: None)

    def hungry(_: SecAggTask) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(flower_secagg, "secagg_rounds", hungry)
    task = SecAggTask(sites=4, parameters=50, shares=ALL_SHARES, rounds=1)
    assert limited_secagg_rounds(task) == "MemoryError: too large"


def test_masked_sums_are_compared_with_bare_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ExactnessTask(sites=4, longest=20, sums=30)
    found = exactness(task)
    assert (found.sums, found.equal, found.bare_elements) == (30, 30, 0)
    assert found.releases >= 60

    def wrong(_: Session, __: object, elements: np.ndarray) -> bool:
        elements[0] += np.uint64(1)
        return True

    monkeypatch.setattr(Session, "hide", wrong)
    broken = exactness(task)
    assert broken.equal == 0
    assert broken.bare_elements > 0
