"""A site's identity: an Ed25519 key (RFC 8032) that signs for one purpose at a time."""

from __future__ import annotations

import re
from typing import NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedward.common.errors import FedwardError

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_PURPOSE = re.compile(r"[a-z][a-z-]{0,31}")


class SecureSumError(FedwardError):
    """Keys, signatures or ring elements with which no secure sum can be made."""


class SiteIdentity:
    """The private key by which others know a site, or the federation that signs the roster.

    It can be neither copied nor pickled, and ``repr`` shows the public key alone.
    """

    __slots__ = ("_key", "_public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public_key = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        """A new identity from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, private: bytes) -> Self:
        """The identity of 32 private bytes; ``ValueError`` for any other number of them."""
        if len(private) != KEY_BYTES:
            raise ValueError(f"an identity has {KEY_BYTES} private bytes, not {len(private)}")
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    def private_bytes(self) -> bytes:
        """The secret itself, 32 bytes, for a key file and nothing else."""
        return self._key.private_bytes_raw()

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._public_key

    def sign(self, purpose: str, message: bytes) -> bytes:
        """Sign ``message`` (64 bytes), valid for this purpose alone."""
        return self._key.sign(_for_purpose(purpose, message))

    def __repr__(self) -> str:
        return f"<SiteIdentity {self._public_key.hex()}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an identity holds a private key and can be neither copied nor pickled")


def verify(public_key: bytes, *, purpose: str, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s for this purpose and message.

    False for malformed keys and signatures too.
    """
    signed = _for_purpose(purpose, message)
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _for_purpose(purpose: str, message: bytes) -> bytes:
    """What is really signed, so that one purpose's signature never serves another."""
    if not _PURPOSE.fullmatch(purpose):
        raise ValueError(f"a purpose is a word of small letters: {purpose!r}")
    return b"fedward/" + purpose.encode() + b"/1\0" + message
