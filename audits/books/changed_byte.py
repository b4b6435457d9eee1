"""Which single byte of a ledger's line was changed, found by putting every other back.

The chain holds each entry's SHA-256 in the entry after it. So if one byte was replaced by another,
trying all 255 others at each place gives that digest exactly once, and with it what stood there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

_PREFIX = b'{"entry":'
_SUFFIX_BYTES = len(b',"signature":""}') + 128
MAX_BYTES = 4096
"""Longer entries are not searched: a second or so for each."""


@dataclass(frozen=True, kw_only=True)
class ChangedByte:
    """``column`` counts the line's bytes from 1; ``field`` is the entry's key it belongs to."""

    column: int
    field: str
    is_now: int
    was: int

    def __str__(self) -> str:
        return (
            f"byte {self.column}, in {self.field!r}, is {_shown(self.is_now)} and was "
            f"{_shown(self.was)}"
        )


def entry_bytes(line: bytes) -> bytes:
    """The part of a line where its entry stands, if it has its usual length."""
    return line[len(_PREFIX) : -_SUFFIX_BYTES]


def changed_byte(line: bytes, *, digest: str) -> ChangedByte | None:
    """The one byte to put back so that the line's entry has ``digest``; None if there is none.

    Takes up to a second.
    """
    body, wanted = bytearray(entry_bytes(line)), bytes.fromhex(digest)
    if not 0 < len(body) <= MAX_BYTES:
        return None
    for position, is_now in enumerate(bytes(body)):
        before = hashlib.sha256(body[:position])
        after = bytes(body[position + 1 :])
        for was in range(256):
            tried = before.copy()
            tried.update(bytes([was]) + after)
            if tried.digest() == wanted and was != is_now:
                body[position] = was
                return ChangedByte(
                    column=len(_PREFIX) + position + 1,
                    field=field_at(bytes(body), position),
                    is_now=is_now,
                    was=was,
                )
    return None


def field_at(body: bytes, position: int) -> str:
    """The key of a canonical JSON object whose text covers this byte; "" for its brackets."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    reached = 1
    for key in sorted(document):
        text = json.dumps(
            {key: document[key]}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        reached += len(text.encode()) - 2 + 1
        if position < reached:
            return str(key) if position > 0 else ""
    return ""


def _shown(byte: int) -> str:
    return repr(chr(byte)) if 0x20 <= byte < 0x7F else f"0x{byte:02x}"
