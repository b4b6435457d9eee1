"""One line of a ledger: what it says, whether its site signed that, and what was changed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pydantic import ValidationError

from fedward.audits.books.changed_byte import changed_byte, entry_bytes
from fedward.common.ledger.chain import SignedEntry, canonical
from fedward.common.ledger.entries import Entry
from fedward.common.secure_sum.signatures import verify

ENTRY_PURPOSE = "ledger-entry"
"""What a site signs an entry for; see the reference page of the ledger."""


@dataclass(frozen=True, kw_only=True)
class ReadEntry:
    """An entry as its line says it; ``line`` counts from 1, ``digest`` is of its canonical text."""

    line: int
    entry: Entry
    digest: str
    signature: str

    def is_signed_by(self, identity_key: bytes) -> bool:
        """Whether the site with this key (32 bytes) signed it."""
        return verify(
            identity_key,
            purpose=ENTRY_PURPOSE,
            message=bytes.fromhex(self.digest),
            signature=bytes.fromhex(self.signature),
        )


def read_line(line: str, number: int) -> ReadEntry | None:
    """The entry of a line in its canonical form; None for any other text."""
    try:
        signed = SignedEntry.model_validate_json(line)
    except ValueError:
        return None
    text = canonical(signed.entry)
    if line != f'{{"entry":{text},"signature":"{signed.signature}"}}':
        return None
    digest = hashlib.sha256(text.encode()).hexdigest()
    return ReadEntry(line=number, entry=signed.entry, digest=digest, signature=signed.signature)


def what_changed(line: str, *, digest: str | None, search: bool) -> str:
    """What is wrong with a line that its site did not sign, in words.

    ``digest`` is what the entry on it should have, None if the chain does not tell. ``search``
    looks for the one byte that was changed, which may take a second.
    """
    found = _as_found(line)
    if digest is not None:
        if hashlib.sha256(entry_bytes(found)).hexdigest() == digest:
            return "the entry is as it was; what stands around it was changed"
        byte = changed_byte(found, digest=digest) if search else None
        if byte is not None:
            return str(byte)
    try:
        signed = SignedEntry.model_validate_json(line)
    except ValueError as error:
        return f"no signed entry ({reason(error)})"
    at = _first_difference(line, canonical(signed))
    if at is not None:
        return f"not in the canonical form from byte {at} on"
    return "the entry was changed, or another key signed it"


def reason(error: ValueError) -> str:
    """The first thing that is wrong, with its field."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    return str(error)


def _as_found(line: str) -> bytes:
    r"""The bytes of a raw line, in which those that are no UTF-8 were read as ``\xff``."""
    return re.sub(
        rb"\\x([89a-f][0-9a-f])",
        lambda match: bytes.fromhex(match[1].decode()),
        line.encode(),
    )


def _first_difference(found: str, expected: str) -> int | None:
    """The first byte, from 1, at which two texts differ; None if they are equal."""
    if found == expected:
        return None
    one, other = found.encode(), expected.encode()
    for at, (left, right) in enumerate(zip(one, other, strict=False), start=1):
        if left != right:
            return at
    return min(len(one), len(other)) + 1
