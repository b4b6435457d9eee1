from __future__ import annotations

import numpy as np
import pytest
from secure_sum_accuracy import Pair, PairTask, comparison, run_pair


def _pair(distributed: list[float], pooled: list[float]) -> Pair:
    return Pair(
        distributed=np.array(distributed),
        pooled=np.array(pooled),
        distributed_epsilon=1.0,
        pooled_epsilon=0.9,
    )


def test_both_arms_cost_the_same_and_noise_is_fresh() -> None:
    pair = run_pair(PairTask(data="breast_cancer", epsilon=1.0, colluding=1, seed=0, draws=2))
    for arm, epsilon in (
        (pair.distributed, pair.distributed_epsilon),
        (pair.pooled, pair.pooled_epsilon),
    ):
        assert len(set(arm)) == 2
        assert (arm > 0.9).all()
        assert 0.99 < epsilon <= 1.0


def test_the_gap_is_of_means_and_the_error_that_of_the_noise_within_splits() -> None:
    pairs = [_pair([0.8, 0.9], [0.9, 0.9]), _pair([0.5, 0.5], [0.5, 0.7])]
    found = comparison(pairs, data="made up", epsilon=1.0, colluding=1)
    assert found.gap == pytest.approx(0.75 - 0.675)
    # Variances of means: .005 / 2 and 0 on the first split, 0 and .02 / 2 on the second.
    assert found.standard_error == pytest.approx(np.sqrt(0.0025 + 0.01) / 2)
    assert found.interval == pytest.approx((0.075 - 0.10957, 0.075 + 0.10957), abs=1e-5)
    assert (found.splits, found.draws) == (2, 2)
    assert (found.distributed_epsilon, found.pooled_epsilon) == (1.0, 0.9)


def test_one_draw_tells_nothing_of_the_noise() -> None:
    with pytest.raises(ValueError, match="at least two"):
        comparison([_pair([0.8], [0.9])], data="made up", epsilon=1.0, colluding=1)
