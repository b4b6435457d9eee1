"""A running sum of vectors whose rounding does not grow with the number of terms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class CompensatedSum:
    """Compensated sum (Knuth's two-sum and Ogita, Rump and Oishi 2005, algorithm 4.4), elementwise.

    The error of the result is at most ``(u + O(n^2 u^2))`` times the sum of magnitudes, with
    ``u = 2^-53`` and ``n`` the number of vectors added; a plain loop has ``n u``.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._sum: NDArray[np.float64] | None = None
        self._lost: NDArray[np.float64] | None = None
        self._spare: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, vector: NDArray[np.float64]) -> None:
        """Add a finite float64 vector ``[length]``, which the sum owns from now on."""
        if self._sum is None:
            self._sum = vector
            return
        if self._lost is None or self._spare is None:
            self._lost = np.zeros(self._length)
            self._spare = np.empty(self._length), np.empty(self._length)
        total, part = self._spare
        np.add(self._sum, vector, out=total)
        # Two-sum: the exact rounding error of the addition, whichever term is larger.
        np.subtract(total, self._sum, out=part)
        vector -= part
        part -= total
        part += self._sum
        vector += part
        self._lost += vector
        self._sum, self._spare = total, (self._sum, part)

    def total(self) -> NDArray[np.float64]:
        """The sum of all vectors, zeros if there are none; ends the use of this object."""
        if self._sum is None:
            return np.zeros(self._length)
        return self._sum if self._lost is None else self._sum + self._lost
