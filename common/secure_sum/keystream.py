"""AES-256-CTR keystreams added to ring elements, a piece of the cache's size at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

_PIECE = 2**14
"""Elements per piece: zeros, keystream and elements (128 KiB each) stay in a core's own cache."""
_BLOCK_BYTES = 16


def add_keystreams(
    elements: NDArray[np.uint64], *, added: Sequence[bytes], subtracted: Sequence[bytes]
) -> None:
    """Add and subtract, modulo 2^64 and in place, one keystream per key (32 bytes each).

    ``elements`` is uint64 [length], contiguous and writeable. A keystream is AES-256 in counter
    mode over zeros, counter from 0, read as little-endian 64-bit words; so a key must serve once.
    """
    if (
        elements.dtype != np.uint64
        or elements.ndim != 1
        or not elements.size
        or not elements.flags.c_contiguous
        or not elements.flags.writeable
    ):
        raise ValueError(
            "ring elements must be uint64 [length], contiguous and writeable, not "
            f"{elements.dtype} {elements.shape}"
        )
    start = modes.CTR(bytes(_BLOCK_BYTES))
    streams = [
        (operation, Cipher(algorithms.AES(key), start).encryptor().update_into)
        for operation, keys in ((np.add, added), (np.subtract, subtracted))
        for key in keys
    ]
    piece = min(_PIECE, elements.size)
    zeros = memoryview(bytes(8 * piece))
    # The library asks for room for one block more.
    buffer = bytearray(8 * piece + _BLOCK_BYTES)
    words = np.frombuffer(buffer, dtype="<u8", count=piece)
    for first in range(0, elements.size, piece):
        part = elements[first : first + piece]
        if part.size < piece:
            zeros, words = zeros[: 8 * part.size], words[: part.size]
        for operation, update_into in streams:
            update_into(zeros, buffer)
            operation(part, words, out=part)
