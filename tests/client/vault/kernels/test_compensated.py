from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedward.client.vault.kernels.compensated import CompensatedSum


@given(st.lists(st.floats(-1e12, 1e12), max_size=60))
def test_error_does_not_grow_with_the_terms(values: list[float]) -> None:
    total = CompensatedSum(1)
    for value in values:
        total.add(np.array([value]))
    exact = sum(map(Fraction, values), Fraction(0))
    bound = abs(exact) / 2**53 + sum(map(abs, map(Fraction, values)), Fraction(0)) / 2**93
    assert abs(Fraction(total.total()[0]) - exact) <= bound + Fraction(1, 2**1074)


def test_it_keeps_what_a_loop_loses() -> None:
    values = [1.0, *[2.0**-54] * 4096]
    total = CompensatedSum(2)
    for value in values:
        total.add(np.array([value, -value]))
    exact = math.fsum(values)
    assert total.total().tolist() == [exact, -exact]
    assert exact != 1.0


def test_nothing_is_zero() -> None:
    assert CompensatedSum(3).total().tolist() == [0.0, 0.0, 0.0]
