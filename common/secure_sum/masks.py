"""The seam at which a site's release is hidden from the coordinator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MaskedSum:
    """The one sum that a mask is for: whatever two sites must agree on for theirs to cancel.

    ``roster`` holds the round's sites, sorted. ``query_digest`` (SHA-256, hex) is that of the whole
    query, so sites that were asked different things, such as gradients at different models, never
    add up to anything.
    """

    run_id: str
    study_digest: str
    session: int
    roster: tuple[str, ...]
    round: int
    attempt: int
    query_digest: str


class Masks(Protocol):
    """Ring elements that look uniform, and that cancel in the sum over the round's roster."""

    def hide(self, masked: MaskedSum, elements: NDArray[np.uint64]) -> bool:
        """Add this site's mask to ``elements`` (uint64 [length]) in place.

        Returns whether there is a mask at all; every release says so.
        """
        ...
