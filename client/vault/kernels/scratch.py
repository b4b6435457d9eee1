"""Arrays that a kernel writes over at every step, kept between calls by each thread.

Fresh arrays of this size come from the kernel as untouched pages, and first touching them costs
about as much as the arithmetic.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Scratch(threading.local):
    """Named arrays of the calling thread. What was in one is lost when its name is asked again.

    Holds the largest size asked for under each name until :meth:`clear`.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}
        self._last: dict[str, tuple[tuple[int, int], DTypeLike, NDArray[np.floating]]] = {}

    def array(self, name: str, shape: tuple[int, int], dtype: DTypeLike) -> NDArray[np.floating]:
        """An array of undefined content, C-contiguous."""
        last = self._last.get(name)
        if last is not None and last[0] == shape and last[1] == dtype:
            return last[2]
        size = shape[0] * shape[1] * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, dtype=np.uint8)
        array: NDArray[np.floating] = buffer[:size].view(dtype).reshape(shape)
        self._last[name] = shape, dtype, array
        return array

    def float64(self, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
        """:meth:`array` of float64."""
        return np.asarray(self.array(name, shape, np.float64), dtype=np.float64)
