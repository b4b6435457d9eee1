"""The interval of all values that a test does not reject, found from the estimate outwards."""

from __future__ import annotations

import math
from collections.abc import Callable

from fedward.server.evaluation.results import Z

_HALVINGS = 30


def accepted_range(estimate: float, *, variance: Callable[[float], float]) -> tuple[float, float]:
    """Limits of the values v in [0, 1] with |estimate - v| <= Z sqrt(variance(v)).

    ``estimate`` is in [0, 1]; ``variance`` is that of the estimate if v is true, not negative.
    Of a set with holes in it the part around the estimate is meant.
    """

    def accepts(value: float) -> bool:
        return abs(estimate - value) <= Z * math.sqrt(variance(value))

    def limit(end: float) -> float:
        if accepts(end):
            return end
        inside, outside = estimate, end
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if accepts(middle):
                inside = middle
            else:
                outside = middle
        return outside

    return limit(0.0), limit(1.0)
