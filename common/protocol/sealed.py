"""A sealed answer: a frame, and behind it the signature of the site that made it.

Every byte that leaves a vault does so under a seal, refusals too. So nobody between vault and
coordinator can change an answer or answer for a site; which question it answers, its
``query_digest`` says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.common.protocol.frame import MAX_ARRAY_BYTES, MAX_HEADER_BYTES, FrameError
from fedward.common.protocol.releases import Answer, decode_answer, encode_answer_parts
from fedward.common.secure_sum.signatures import (
    SIGNATURE_BYTES,
    SecureSumError,
    SiteIdentity,
    verify,
)

MAX_SEALED_BYTES = 16 + MAX_HEADER_BYTES + MAX_ARRAY_BYTES + SIGNATURE_BYTES
"""An answer holds at most one array."""

_PURPOSE = "answer"


class SealError(SecureSumError):
    """An answer that the site did not sign."""


@dataclass(frozen=True)
class SealedAnswer:
    """An answer as it came; nothing in it may be believed before :meth:`answer_of`.

    ``frame`` is a view of what was received, ``digest`` its SHA-256 (hex).
    """

    frame: memoryview
    digest: str
    signature: bytes

    def answer_of(self, site_key: bytes) -> tuple[Answer, NDArray[np.uint64] | None]:
        """The answer, and the sum's elements as a read-only view, if the key's owner signed it.

        ``site_key`` is the site's Ed25519 key from the signed roster, 32 bytes.

        Raises:
            SealError: the signature is not that key's. The frame was not looked at.
            FrameError: the site signed what is no answer.
        """
        digest = bytes.fromhex(self.digest)
        if not verify(site_key, purpose=_PURPOSE, message=digest, signature=self.signature):
            raise SealError("the answer is not signed with the site's key")
        return decode_answer(self.frame)


def sealed_answer(
    answer: Answer, total: NDArray[np.uint64] | None = None, *, identity: SiteIdentity
) -> tuple[bytes, str]:
    """Frame and sign an answer: the bytes to send, and the frame's SHA-256 (hex).

    ``total`` is read twice and copied once. Raises :class:`FrameError` as ``encode_answer`` does.
    """
    parts = encode_answer_parts(answer, total)
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
    signature = identity.sign(_PURPOSE, hashed.digest())
    return b"".join([*parts, signature]), hashed.hexdigest()


def open_sealed(sealed: bytes) -> SealedAnswer:
    """Part frame and signature; checks neither. :class:`FrameError` if the size is out of bounds.

    No copy is made.
    """
    if not SIGNATURE_BYTES < len(sealed) <= MAX_SEALED_BYTES:
        raise FrameError(f"{len(sealed)} bytes are not a sealed answer")
    # A view of bytes cannot be written to, whoever holds it.
    view = memoryview(sealed)
    frame = view[:-SIGNATURE_BYTES]
    return SealedAnswer(
        frame=frame,
        digest=hashlib.sha256(frame).hexdigest(),
        signature=bytes(view[-SIGNATURE_BYTES:]),
    )
