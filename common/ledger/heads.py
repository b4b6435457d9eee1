"""The head of a ledger: how far it goes, under the site's signature, and who has seen it.

A site that restores an old backup of its ledger has forgotten releases. Whoever has its newer head
can tell: the coordinator keeps each site's latest one and shows it when a session is opened, and a
vault whose ledger does not hold it refuses to go on.
"""

from __future__ import annotations

from fedward.common.ledger.entries import LedgerId, Sequence
from fedward.common.protocol.fields import Digest, PublicKey, RunId, Signature, SiteName, Wire
from fedward.common.secure_sum.signatures import SiteIdentity, verify

_HEAD = "ledger-head"
_COUNTERSIGNED = "ledger-head-seen"


class LedgerPosition(Wire):
    """One entry of a ledger."""

    sequence: Sequence
    digest: Digest


class LedgerHead(Wire):
    """A ledger's last entry at some moment, signed by the site that it is of."""

    site: SiteName
    ledger_id: LedgerId
    sequence: Sequence
    digest: Digest
    signature: Signature

    @classmethod
    def sign(
        cls, identity: SiteIdentity, *, site: str, ledger_id: str, sequence: int, digest: str
    ) -> LedgerHead:
        """The head that ends with this entry."""
        message = _message(site, ledger_id, sequence, digest)
        return cls(
            site=site,
            ledger_id=ledger_id,
            sequence=sequence,
            digest=digest,
            signature=identity.sign(_HEAD, message).hex(),
        )

    def is_signed_by(self, identity_key: bytes) -> bool:
        """Whether the site with this key (32 bytes) signed it."""
        return verify(
            identity_key, purpose=_HEAD, message=self._message, signature=_bytes(self.signature)
        )

    @property
    def position(self) -> LedgerPosition:
        """Its entry, without the signature."""
        return LedgerPosition(sequence=self.sequence, digest=self.digest)

    @property
    def _message(self) -> bytes:
        return _message(self.site, self.ledger_id, self.sequence, self.digest)


class KnownHead(Wire):
    """A head as the coordinator keeps it, counter-signed for the run in which it saw it.

    ``countersignature`` is None only of a coordinator whose federation gave it no key.
    """

    head: LedgerHead
    run_id: RunId
    coordinator_key: PublicKey | None
    countersignature: Signature | None

    @classmethod
    def seen(cls, head: LedgerHead, *, run_id: str, coordinator: SiteIdentity | None) -> KnownHead:
        """Counter-sign a head whose own signature was checked."""
        signature = key = None
        if coordinator is not None:
            signature = coordinator.sign(_COUNTERSIGNED, _seen(head, run_id)).hex()
            key = coordinator.public_key.hex()
        return cls(head=head, run_id=run_id, coordinator_key=key, countersignature=signature)

    def is_countersigned_by(self, coordinator_key: bytes) -> bool:
        """Whether the coordinator with this key (32 bytes) counter-signed it."""
        return self.countersignature is not None and verify(
            coordinator_key,
            purpose=_COUNTERSIGNED,
            message=_seen(self.head, self.run_id),
            signature=_bytes(self.countersignature),
        )


def _message(site: str, ledger_id: str, sequence: int, digest: str) -> bytes:
    return f"{site}\0{ledger_id}\0{sequence}\0{digest}".encode()


def _seen(head: LedgerHead, run_id: str) -> bytes:
    # What the site signed is in it, so that no other head can be passed off as this one.
    return _message(head.site, head.ledger_id, head.sequence, head.digest) + f"\0{run_id}".encode()


def _bytes(signature: str) -> bytes:
    return bytes.fromhex(signature)
