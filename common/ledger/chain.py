"""The chain: canonical text, digest and signature of each entry, and one link after another."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from fedward.common.ledger.entries import ENTRY, Entry
from fedward.common.protocol.fields import Digest, Signature, Wire
from fedward.common.secure_sum.signatures import SiteIdentity, verify

_PURPOSE = "ledger-entry"


class SignedEntry(Wire):
    """An entry under the signature of its site; worth nothing before it is checked."""

    entry: Entry
    signature: Signature

    @property
    def digest(self) -> Digest:
        """SHA-256 (hex) of the entry's canonical text, which the next entry names."""
        return entry_digest(self.entry)

    def is_signed_by(self, identity_key: bytes) -> bool:
        """Whether the site with this key (32 bytes) signed it."""
        return self.verified_digest(identity_key) is not None

    def verified_digest(self, identity_key: bytes) -> Digest | None:
        """:attr:`digest`, computed once, if the site with this key signed the entry; else None."""
        digest = self.digest
        genuine = verify(
            identity_key,
            purpose=_PURPOSE,
            message=bytes.fromhex(digest),
            signature=bytes.fromhex(self.signature),
        )
        return digest if genuine else None


def canonical(document: BaseModel | dict[str, Any]) -> str:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    body = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def entry_digest(entry: Entry) -> str:
    """SHA-256 (hex) of the entry's canonical text."""
    return hashlib.sha256(canonical(entry).encode()).hexdigest()


def signed(entry: Entry, identity: SiteIdentity) -> SignedEntry:
    """Sign an entry."""
    signature = identity.sign(_PURPOSE, bytes.fromhex(entry_digest(entry)))
    return SignedEntry(entry=entry, signature=signature.hex())


def entry_of(text: str) -> Entry:
    """The entry of its canonical text; ``ValueError`` for any other text, however alike."""
    entry = ENTRY.validate_json(text)
    if canonical(entry) != text:
        raise ValueError("not in the canonical form")
    return entry
