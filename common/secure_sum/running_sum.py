"""The coordinator's sum: releases are added as they arrive and then forgotten."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.common.secure_sum.signatures import SecureSumError


class RunningSum:
    """A sum in the ring Z/2^64 that takes one vector of memory however many are added.

    ``length`` is the number of coordinates; without it the first vector's counts.
    """

    def __init__(self, length: int | None = None) -> None:
        if length is not None and length < 1:
            raise ValueError(f"length must be at least 1: {length}")
        self._total = None if length is None else np.zeros(length, dtype=np.uint64)
        self._count = 0

    def add(self, elements: NDArray[np.uint64]) -> None:
        """Add ring elements, uint64 [length], modulo 2^64.

        Raises :class:`SecureSumError`, and adds nothing, for another dtype, shape or length.
        """
        if elements.dtype != np.uint64 or elements.ndim != 1 or not elements.size:
            raise SecureSumError(
                f"expected ring elements, uint64 [length], got {elements.dtype} {elements.shape}"
            )
        if self._total is None:
            self._total = np.array(elements, dtype=np.uint64)
        elif elements.shape != self._total.shape:
            raise SecureSumError(f"expected {self._total.size} ring elements, got {elements.size}")
        else:
            np.add(self._total, elements, out=self._total)
        self._count += 1

    @property
    def count(self) -> int:
        """How many vectors were added."""
        return self._count

    @property
    def total(self) -> NDArray[np.uint64]:
        """The sum so far, uint64 [length], not a copy; zeros if there is a length but no vector."""
        if self._total is None:
            raise SecureSumError("nothing was added up")
        return self._total
