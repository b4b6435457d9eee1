"""A sum over sites, from the ring elements that came of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.common.secure_sum.ring import decode_units
from fedward.server.attempt import Released

_LARGEST_SUM = 2**62
"""In units. No codec lets a sum get there; what masks leave behind does in half of all places."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SummedRound:
    """A sum over ``sites``, float64 ``[length]``; ``noise`` is the multiplier of all its noise.

    Every site adds its share, so together they make more noise than is guaranteed; 0 without.
    """

    total: NDArray[np.float64]
    sites: tuple[str, ...]
    noise: float


def summed_round(
    elements: NDArray[np.uint64], releases: Mapping[str, Released]
) -> SummedRound | None:
    """Decode; None if the elements cannot be those of a sum."""
    signed = elements.view(np.int64)
    if max(int(signed.max()), -int(signed.min())) >= _LARGEST_SUM:
        return None
    shares = [one.executed.share_multiplier for one in releases.values() if one.executed]
    return SummedRound(
        total=decode_units(elements, scale_bits=next(iter(releases.values())).scale_bits),
        sites=tuple(sorted(releases)),
        noise=math.hypot(*shares),
    )
