from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedward.client.vault.kernels.clipped_sum import (
    MOST_BLOCK_ROWS,
    KernelOptions,
    clipped_gradient_sum,
)
from fedward.client.vault.kernels.rounding import relative_rounding
from fedward.common.models.registry import build_model
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import Model


def test_the_bound_is_small_and_grows_with_patients_and_blocks() -> None:
    assert relative_rounding(max_patients=0) == 0
    assert 1e-6 < relative_rounding(max_patients=2**20) < 1e-5
    assert relative_rounding(max_patients=10, block_rows=1024) > relative_rounding(max_patients=10)
    with pytest.raises(ValueError, match="max_patients"):
        relative_rounding(max_patients=-1)


@pytest.mark.parametrize("section", [Model(name="logistic_regression"), Model(name="mlp")])
def test_the_order_of_patients_moves_the_sum_within_the_bound(
    make_cohort: Any, section: Model
) -> None:
    # Terms are fixed to the bit, so two orders of one cohort differ by summation alone.
    generator = np.random.default_rng(0)
    counts = [int(c) for c in generator.integers(1, 6, 700)]
    cohort = make_cohort(counts, 6)
    model = build_model(section, columns=6)
    parameters = generator.standard_normal(model.parameter_count)
    for block_rows in (64, 512):
        performance = KernelOptions(block_rows=block_rows)
        one, other = (
            clipped_gradient_sum(
                model, parameters, cohort, order, clip=0.2, performance=performance
            )
            for order in (np.arange(700), generator.permutation(700))
        )
        bound = 0.2 * relative_rounding(max_patients=700, block_rows=block_rows)
        assert 0 < np.linalg.norm(one - other) <= bound


@pytest.mark.parametrize("max_patients", [1, 100, 2**14, 2**20, 2**24])
def test_the_ring_charges_more_than_the_kernels_round(max_patients: int) -> None:
    ring = RingCodec(clip=1.0, length=1, max_patients=max_patients, sites=1, noise_multiplier=1.0)
    for block_rows in (1, KernelOptions().block_rows, MOST_BLOCK_ROWS):
        bound = relative_rounding(max_patients=max_patients, block_rows=block_rows)
        assert bound <= ring.summation_rounding
