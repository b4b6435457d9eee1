"""A session: each site's signed key, and from them the masks that cancel in every sum.

Every pair of sites agrees on a secret by X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869), bound to all
that both must agree on, down to the keys of all sites of the session. In a sum, each site adds for
every peer a keystream of that pair and that sum, one of the two with a minus. Whoever lacks the
private key of both sees uniform ring elements (Bonawitz et al. 2017, section 4; without its shared
secrets, since a sum that lost a site is asked again and not repaired).

A mask depends on the query's digest too: sites that a dishonest coordinator asks different things,
such as gradients at models of which all but one give zero (Pasquini, Francati and Ateniese 2022),
add masks that do not cancel.

Not covered: a site that colludes with the coordinator gives its masks away; what stays hidden is
how the other sites of the round share their sum among them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import NoReturn, Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from numpy.typing import NDArray

from fedward.common.secure_sum.keystream import add_keystreams
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.offers import SessionError, SessionKey, SessionOffer, check_offers
from fedward.common.secure_sum.roster import Roster
from fedward.common.secure_sum.signatures import KEY_BYTES
from fedward.common.secure_sum.transcript import transcript

__all__ = ["Session", "SessionError", "SessionKey", "SessionOffer"]

_SALT = b"fedward/secure-sum/1"


class Session:
    """One site's side of a session: the secrets it shares with every other site.

    Make it with :meth:`join`. It masks a round and attempt once, so it refuses to mask in a forked
    child, where it would do so again. It can be neither copied nor pickled, and ``repr`` shows no
    secret.
    """

    def __init__(
        self, own: SessionOffer, *, digest: str, secrets: dict[str, bytes], names: tuple[str, ...]
    ) -> None:
        self._own = own
        self._digest = digest
        self._secrets = secrets
        self._names = names
        self._masked: set[tuple[int, int]] = set()
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._process = os.getpid()

    @classmethod
    def join(cls, own: SessionKey, offers: Sequence[SessionOffer], *, roster: Roster) -> Self:
        """Agree with every other site that offers a key; needs no message.

        ``offers`` are the keys of all sites of the session, this one's included, in any order;
        ``roster`` is the checked one.

        Raises:
            SessionError: which offer cannot be used, and why: see :func:`check_offers`; a key of
                low order, with which the secret would be known to everybody; or ``own`` was made
                before this process was forked, where both would join.
        """
        ordered = check_offers(own.offer, offers, roster=roster)
        bound_to = _bound_to(own.offer)
        keys = (field for offer in ordered for field in (offer.site, offer.key, offer.signature))
        digest = sha256(transcript("session", *bound_to, *keys)).hexdigest()
        # The part of the pairs' info that is the same for all.
        info = transcript("pair", *bound_to, digest)
        secrets = {
            offer.site: _pair_secret(own, offer, info=info)
            for offer in ordered
            if offer.site != own.offer.site
        }
        names = tuple(offer.site for offer in ordered)
        return cls(own.offer, digest=digest, secrets=secrets, names=names)

    @property
    def participants(self) -> tuple[str, ...]:
        """The session's sites, sorted."""
        return self._names

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the offers of all sites: equal for sites that joined one session."""
        return self._digest

    @property
    def seconds_in_masks(self) -> float:
        """Wall time that :meth:`hide` took so far."""
        return self._seconds

    def hide(self, masked: MaskedSum, elements: NDArray[np.uint64]) -> bool:
        """Add this site's mask to ``elements`` (uint64 [length], contiguous) in place.

        Returns False, and adds nothing, if this site is alone in the round's roster.

        Raises:
            SessionError: a sum of another run, study or session, a roster that is not made of
                participants, unsorted or without this site, a round and attempt that this
                session masked before, or a forked process. Nothing is added.
            ValueError: elements of another dtype or shape.
        """
        started = time.perf_counter()
        if os.getpid() != self._process:
            raise SessionError("a session must not cross a fork; open another")
        self._check(masked)
        place = (masked.round, masked.attempt)
        with self._lock:
            if place in self._masked:
                # A keystream that serves twice gives away the difference of two releases.
                raise SessionError(f"round {place[0]}, attempt {place[1]} was masked before")
            self._masked.add(place)
        info = _sum_digest(masked, length=elements.size)
        own = self._own.site
        added: list[bytes] = []
        subtracted: list[bytes] = []
        for peer in masked.roster:
            if peer == own:
                continue
            expand = HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info)
            (added if own < peer else subtracted).append(expand.derive(self._secrets[peer]))
        add_keystreams(elements, added=added, subtracted=subtracted)
        self._seconds += time.perf_counter() - started
        return len(masked.roster) > 1

    def _check(self, masked: MaskedSum) -> None:
        own = self._own
        for what, found, expected in (
            ("run", masked.run_id, own.run_id),
            ("study", masked.study_digest, own.study_digest),
            ("session", masked.session, own.session),
        ):
            if found != expected:
                raise SessionError(f"this session is for {what} {expected}, not {found}")
        roster = masked.roster
        if any(first >= second for first, second in pairwise(roster)):
            raise SessionError("the round's roster must be sorted and name each site once")
        if own.site not in roster:
            raise SessionError(f"site {own.site} is not in the round's roster")
        strangers = [site for site in roster if site != own.site and site not in self._secrets]
        if strangers:
            raise SessionError(f"sites not in this session: {', '.join(strangers[:10])}")

    def __repr__(self) -> str:
        return f"<Session {self._own.session} of {len(self._names)} sites, at {self._own.site}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a session holds secrets and can be neither copied nor pickled")


def _bound_to(offer: SessionOffer) -> tuple[str, str, str, int]:
    return offer.run_id, offer.study_digest, offer.roster_digest, offer.session


def _pair_secret(own: SessionKey, peer: SessionOffer, *, info: bytes) -> bytes:
    """The secret of two sites, 32 bytes; the same at both."""
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(peer.key)))
    except ValueError as error:  # the library refuses a shared secret of zeros (RFC 7748, 6.1)
        raise SessionError(f"site {peer.site} offers a key of low order") from error
    mine = own.offer
    first, second = (mine, peer) if mine.site < peer.site else (peer, mine)
    info += transcript(first.site, first.key, second.site, second.key)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_SALT, info=info).derive(shared)


def _sum_digest(masked: MaskedSum, *, length: int) -> bytes:
    """SHA-256 of all that names one sum."""
    named = transcript(
        "sum",
        masked.run_id,
        masked.study_digest,
        masked.session,
        masked.round,
        masked.attempt,
        masked.query_digest,
        length,
        *masked.roster,
    )
    return sha256(named).digest()
