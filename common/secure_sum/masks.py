"""The seam at which a site's release is hidden from the coordinator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MaskedSum:
    """The one sum that a mask is for: whatever two sites must agree on for theirs to cancel."""

    run_id: str
    study_digest: str
    roster: tuple[str, ...]
    round: int
    attempt: int
    length: int


class MaskSource(Protocol):
    """Ring elements that look uniform, and that cancel in the sum over the round's roster."""

    @property
    def masking(self) -> bool:
        """Whether releases are hidden at all; every release says so."""
        ...

    def mask(self, masked: MaskedSum) -> NDArray[np.uint64]:
        """Return a site's mask for one sum, uint64 [length]. Never ask twice for one attempt."""
        ...


class NoMasks:
    """Zeros: the coordinator sees each site's noised release, so ``epsilon_alone`` applies."""

    @property
    def masking(self) -> bool:
        """Nothing is hidden."""
        return False

    def mask(self, masked: MaskedSum) -> NDArray[np.uint64]:
        """Return zeros, uint64 [length]."""
        return np.zeros(masked.length, dtype=np.uint64)
