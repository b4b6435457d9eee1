"""The seam at which a site's release is hidden from the coordinator."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class MaskSource(Protocol):
    """Ring elements that look uniform, and that cancel in the sum over the round's roster.

    ``masking`` says whether they hide anything, so that a release can tell its reader.
    """

    @property
    def masking(self) -> bool:
        """Whether releases are hidden at all; every release says so."""
        ...

    def mask(
        self,
        *,
        run_id: str,
        round: int,  # noqa: A002
        attempt: int,
        length: int,
    ) -> NDArray[np.uint64]:
        """Return one release's mask, uint64 [length]. Never ask twice for one attempt."""
        ...


class NoMasks:
    """Zeros: the coordinator sees each site's noised release, so ``epsilon_alone`` applies."""

    @property
    def masking(self) -> bool:
        """False: nothing is hidden."""
        return False

    def mask(
        self,
        *,
        run_id: str,
        round: int,  # noqa: A002
        attempt: int,
        length: int,
    ) -> NDArray[np.uint64]:
        """Zeros, uint64 [length]."""
        del run_id, round, attempt
        return np.zeros(length, dtype=np.uint64)
