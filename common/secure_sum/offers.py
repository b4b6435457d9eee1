"""The key that a site offers for one session, signed with its identity."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import NoReturn, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedward.common.protocol.fields import (
    Digest,
    PublicKey,
    RunId,
    SessionNumber,
    Signature,
    SiteName,
    Wire,
)
from fedward.common.secure_sum.roster import Roster, RosterError
from fedward.common.secure_sum.signatures import KEY_BYTES, SecureSumError, SiteIdentity, verify
from fedward.common.secure_sum.transcript import transcript

_PURPOSE = "session-offer"
_FIELD_PRIME = 2**255 - 19


class SessionError(SecureSumError):
    """A session that cannot be joined, or a sum that is not one of the session's."""


class SessionOffer(Wire):
    """One site's X25519 key for one session of one run, bound to study and signed roster."""

    site: SiteName
    run_id: RunId
    study_digest: Digest
    roster_digest: Digest
    session: SessionNumber
    key: PublicKey
    signature: Signature

    def signed_message(self) -> bytes:
        """What the site's identity signs: every field but the signature."""
        return transcript(
            self.site, self.run_id, self.study_digest, self.roster_digest, self.session, self.key
        )


class SessionKey:
    """A site's private key for one session, and the offer that goes with it.

    Make it with :meth:`make`. It can be neither copied nor pickled, and ``repr`` shows no secret.
    """

    __slots__ = ("_private", "_process", "offer")

    offer: SessionOffer

    def __init__(self, private: X25519PrivateKey, offer: SessionOffer) -> None:
        self._private = private
        self._process = os.getpid()
        self.offer = offer

    @classmethod
    def make(
        cls,
        identity: SiteIdentity,
        *,
        site: str,
        run_id: str,
        study_digest: str,
        roster_digest: str,
        session: int,
        private_key: bytes,
    ) -> Self:
        """Sign the public part of ``private_key``: 32 random bytes, fresh for every session."""
        if len(private_key) != KEY_BYTES:
            raise ValueError(f"a session key has {KEY_BYTES} private bytes, not {len(private_key)}")
        private = X25519PrivateKey.from_private_bytes(private_key)
        unsigned = SessionOffer(
            site=site,
            run_id=run_id,
            study_digest=study_digest,
            roster_digest=roster_digest,
            session=session,
            key=private.public_key().public_bytes_raw().hex(),
            signature="0" * 128,
        )
        signature = identity.sign(_PURPOSE, unsigned.signed_message())
        return cls(private, unsigned.model_copy(update={"signature": signature.hex()}))

    def exchange(self, peer: X25519PublicKey) -> bytes:
        """The shared secret; ``ValueError`` if it is zero, for a peer's key of low order.

        :class:`SessionError` in a forked child, which would have the masks of its parent.
        """
        if os.getpid() != self._process:
            raise SessionError("a session key must not cross a fork; open another session")
        return self._private.exchange(peer)

    def __repr__(self) -> str:
        return f"<SessionKey of {self.offer.site} for session {self.offer.session}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a session key is secret and can be neither copied nor pickled")


def check_offer(offer: SessionOffer, *, roster: Roster) -> None:
    """Raise :class:`SessionError` unless a site of the checked ``roster`` signed this offer.

    Also if it is bound to another roster, or writes its key in a second way.
    """
    try:
        identity_key = roster.key_of(offer.site)
    except RosterError as error:
        raise SessionError(f"site {offer.site} offers a key and is not in the roster") from error
    if not _signed(identity_key, offer.signed_message(), bytes.fromhex(offer.signature)):
        raise SessionError(f"the session key of site {offer.site} is not signed by that site")
    if int.from_bytes(bytes.fromhex(offer.key), "little") >= _FIELD_PRIME:
        raise SessionError(f"the session key of site {offer.site} is not in canonical form")


def check_offers(
    own: SessionOffer, offers: Sequence[SessionOffer], *, roster: Roster
) -> tuple[SessionOffer, ...]:
    """The offers sorted by site, once it is sure that they make one session.

    Raises:
        SessionError: ``own`` is missing or another; a site or a key twice; a site that is not in
            ``roster``; another run, study, roster or session; a signature that is not the site's.
    """
    if own not in offers:
        raise SessionError(f"the session does not hold the key that site {own.site} offered")
    if len({offer.site for offer in offers}) < len(offers):
        raise SessionError("a site offers two keys for one session")
    if len({offer.key for offer in offers}) < len(offers):
        raise SessionError("two sites offer one session key")
    if own.roster_digest != roster.digest:
        raise SessionError("the session was opened for another signed roster")
    for offer in offers:
        for what in ("run_id", "study_digest", "roster_digest", "session"):
            if getattr(offer, what) != getattr(own, what):
                raise SessionError(
                    f"the session key of site {offer.site} is for another "
                    f"{what.removesuffix('_id').replace('_digest', '')}"
                )
        check_offer(offer, roster=roster)
    return tuple(sorted(offers, key=lambda offer: offer.site))


# Where one machine simulates many sites, each of them checks all offers of a session.
@lru_cache(maxsize=2**14)
def _signed(identity_key: bytes, message: bytes, signature: bytes) -> bool:
    return verify(identity_key, purpose=_PURPOSE, message=message, signature=signature)
