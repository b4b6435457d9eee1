"""The boundary of a hypothesis test over epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable

HIGHEST = 64.0
"""No lower bound is looked for above it: e^64 to one is more than any run can show."""
STEPS_PER_UNIT = 1000
"""Bounds are rounded down to a multiple of 1 / STEPS_PER_UNIT."""


def largest_rejected(rejects: Callable[[float], bool]) -> float:
    """The largest multiple of 1e-3 in [0, 64] that ``rejects``, 0 if it rejects none.

    ``rejects`` must be true up to some epsilon and false above it. Rounding down only lowers a
    bound. Doubles from 1/2 on, as tests take longer at a large epsilon, and most bounds are small.
    """
    low, high = 0, STEPS_PER_UNIT // 2
    end = math.floor(HIGHEST * STEPS_PER_UNIT)
    while rejects(high / STEPS_PER_UNIT):
        if high == end:
            return HIGHEST
        low, high = high, min(2 * high, end)
    while high - low > 1:
        middle = (low + high) // 2
        if rejects(middle / STEPS_PER_UNIT):
            low = middle
        else:
            high = middle
    return low / STEPS_PER_UNIT
