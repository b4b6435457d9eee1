"""One unambiguous encoding of what a signature or a key is bound to."""

from __future__ import annotations


def transcript(*parts: str | bytes | int) -> bytes:
    """Each part with its length before it (8 bytes, big endian), so that no two lists collide.

    A whole number counts as 8 bytes, text as UTF-8. Which part means what, and of which type it is,
    must follow from the first part.
    """
    pieces: list[bytes] = []
    for part in parts:
        if isinstance(part, str):
            piece = part.encode()
        elif isinstance(part, bytes):
            piece = part
        else:
            piece = part.to_bytes(8, "big")
        pieces.append(len(piece).to_bytes(8, "big"))
        pieces.append(piece)
    return b"".join(pieces)
