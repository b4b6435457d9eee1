"""The only source of randomness for privacy noise and patient sampling: AES-256 in counter mode.

A general-purpose generator (Mersenne Twister, PCG) can be rolled back from its output, and a seed
that two sites share gives both the same noise, so that the difference of their releases is bare.
Therefore every stream gets its own 256-bit key from the operating system and there is no way to
pass a seed, with one exception for reproducing a simulation: :meth:`RandomSource.insecure`. What
it yields protects nobody who knows the seed; whoever uses it must say so in the result.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import NoReturn, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

_KEY_BYTES = 32
_SALT = b"fedward/random-source/1"
_SEED_BYTES = 32
_ZEROS = memoryview(bytes(1 << 17))
"""What is encrypted to a keystream, in pieces that stay in the processor's cache."""


class RandomStream:
    """A keystream: AES-256-CTR over zeros, counter from 0, read as little-endian 64-bit words.

    Not thread-safe. It refuses to continue in a forked child, where it would repeat the parent's
    words, and cannot be copied or pickled. ``repr`` shows no key material.
    """

    __slots__ = ("_encryptor", "_process", "_purpose")

    def __init__(self, *, key: bytes, purpose: str) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"key must have {_KEY_BYTES} bytes")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._process = os.getpid()
        self._purpose = purpose

    def uint64(self, size: int) -> NDArray[np.uint64]:
        """The next ``size`` words, uniform on 0 .. 2^64 - 1, in native byte order."""
        if size < 0:
            raise ValueError(f"size must not be negative: {size}")
        words = np.empty(size, dtype=np.uint64)
        self.fill(words)
        return words

    def fill(self, words: NDArray[np.uint64]) -> None:
        """Overwrite ``words`` ``[size]``, contiguous, with the next ones, as :meth:`uint64`."""
        if os.getpid() != self._process:
            raise RuntimeError("a random stream must not cross a fork; open a new one")
        if words.dtype != np.uint64 or not words.flags.c_contiguous:
            raise ValueError("words must be a contiguous array of uint64")
        target = words.reshape(-1).view(np.uint8).data
        for first in range(0, len(target), len(_ZEROS)):
            part = target[first : first + len(_ZEROS)]
            self._encryptor.update_into(_ZEROS[: len(part)], part)
        if sys.byteorder == "big":
            words.byteswap(inplace=True)

    def below_rate(self, size: int, *, rate: float) -> NDArray[np.bool_]:
        """``size`` independent coins, true with probability ``floor(rate * 2^64) / 2^64``.

        That is ``rate`` itself for rates of 2^-11 or more, and never above it. A rate of 1 is
        always true, and takes as many words.
        """
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be in (0, 1]: {rate}")
        words = self.uint64(size)
        if rate == 1:
            return np.ones(size, dtype=np.bool_)
        return words < np.uint64(int(rate * 2.0**64))

    def __repr__(self) -> str:
        return f"<RandomStream for {self._purpose}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a random stream holds a key and can be neither copied nor pickled")


@dataclass(frozen=True)
class RandomSource:
    """Opens streams by purpose. Make it with :meth:`from_os`, or :meth:`insecure` for a rerun."""

    _seed: int | None = field(default=None, repr=False)

    @classmethod
    def from_os(cls) -> Self:
        """Each stream gets a fresh 256-bit key from ``os.urandom``; nothing is reproducible."""
        return cls(None)

    @classmethod
    def insecure(cls, seed: int) -> Self:
        """Streams derived from ``seed`` (0 .. 2^256 - 1): reproducible, and no privacy at all.

        The key is HKDF-SHA256 (RFC 5869) of the seed with purpose and context, each with its
        length before it, as the info. The same (seed, purpose, context) give the same words on
        any machine, in whatever order streams are opened.
        """
        if not 0 <= seed < 2 ** (8 * _SEED_BYTES):
            raise ValueError("seed must be in 0 .. 2^256 - 1")
        return cls(seed)

    @property
    def is_secure(self) -> bool:
        """Whether the operating system keys the streams; false for a seeded source."""
        return self._seed is None

    def stream(self, *, purpose: str, context: bytes) -> RandomStream:
        """A new stream. ``context`` must be unique to its use (run, site, round, attempt, ...).

        With :meth:`from_os` every call gives fresh words. With :meth:`insecure` equal arguments
        give equal words, so that reusing a context reuses noise.
        """
        if not purpose:
            raise ValueError("purpose must not be empty")
        if self._seed is None:
            return RandomStream(key=os.urandom(_KEY_BYTES), purpose=purpose)
        info = b"".join(len(part).to_bytes(8, "big") + part for part in (purpose.encode(), context))
        derivation = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=_SALT, info=info)
        key = derivation.derive(self._seed.to_bytes(_SEED_BYTES, "big"))
        return RandomStream(key=key, purpose=purpose)
