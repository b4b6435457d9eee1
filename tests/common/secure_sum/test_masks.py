from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from fedward.common.secure_sum.masks import MaskedSum

SUM = MaskedSum(
    run_id="run",
    study_digest="0" * 64,
    session=1,
    roster=("a", "b"),
    round=1,
    attempt=1,
    query_digest="1" * 64,
)


def test_a_sum_is_a_fact() -> None:
    assert replace(SUM) == SUM
    assert len({SUM, replace(SUM), replace(SUM, attempt=2)}) == 2
    with pytest.raises(FrozenInstanceError):
        SUM.round = 2  # type: ignore[misc]
