"""The vault's sessions: the keys that it made for runs, and the masks that came of them.

They are in memory alone: a vault that restarts takes part again from the next session on. Anybody
may open a session, so what was opened waits apart from what was joined, and drives none of it out.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass

from fedward.client.vault.policy import Refused, SitePolicy
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import CloseSessionQuery, OpenSessionQuery, SumQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.masks import Masks
from fedward.common.secure_sum.offers import SessionError, SessionKey, SessionOffer
from fedward.common.secure_sum.roster import Roster, RosterError, SignedRoster, checked_roster
from fedward.common.secure_sum.session import Session
from fedward.common.secure_sum.signatures import SiteIdentity

MAX_OPENED = 16
"""Keys that wait for those of the other sites; beyond, the oldest is forgotten."""
MAX_RUNS = 16
MAX_SESSIONS_OF_A_RUN = 4
"""Joined sessions; beyond either, what was used longest ago is forgotten."""


_Run = tuple[str, str]
_Place = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class JoinedSession:
    """A session whose keys are all here.

    ``roster`` is the federation's, ``participants`` those of its sites that opened the session,
    sorted.
    """

    roster: Roster
    participants: tuple[str, ...]
    masks: Masks


@dataclass(frozen=True, kw_only=True)
class _Opened:
    key: SessionKey
    roster: Roster
    opening: int


@dataclass(frozen=True, kw_only=True)
class _Joined:
    session: JoinedSession
    offers: tuple[SessionOffer, ...]
    opening: int


class SessionDesk:
    """Makes one site's session keys and checks those of the others."""

    def __init__(
        self, *, site: str, identity: SiteIdentity, policy: SitePolicy, randomness: RandomSource
    ) -> None:
        self._site = site
        self._identity = identity
        self._policy = policy
        self._randomness = randomness
        self._opened: OrderedDict[_Place, _Opened] = OrderedDict()
        self._runs: OrderedDict[_Run, OrderedDict[int, _Joined]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, query: OpenSessionQuery, *, minimum_sites: int) -> SessionOffer:
        """Make a fresh key for the session and return it, signed.

        It replaces one that still waits for the others'. A session that was joined stays as it is
        until the others' keys for the new one come.

        Raises:
            Refused: the roster is not signed by the pinned federation key, holds a site or a key
                that the policy does not know, lacks this site under its own key, or has fewer than
                ``minimum_sites``.
        """
        roster = self.checked(query.signed_roster, minimum_sites=minimum_sites)
        run = query.run_id, query.study_digest
        place = (*run, query.session)
        with self._lock:
            earlier = self._opened.pop(place, None) or self._live(run, query.session)
            opening = earlier.opening + 1 if earlier else 1
            key = SessionKey.make(
                self._identity,
                site=self._site,
                run_id=query.run_id,
                study_digest=query.study_digest,
                roster_digest=roster.digest,
                session=query.session,
                private_key=self._private_key(query, opening),
            )
            self._opened[place] = _Opened(key=key, roster=roster, opening=opening)
            if len(self._opened) > MAX_OPENED:
                self._opened.popitem(last=False)
        return key.offer

    def checked(self, signed: SignedRoster, *, minimum_sites: int) -> Roster:
        """The roster of a session, if :meth:`open` would take it; Refused as there."""
        try:
            roster = checked_roster(signed, federation_key=self._policy.federation_key)
        except RosterError as error:
            raise Refused(RefusalReason.ROSTER_SIGNATURE, str(error)) from error
        for entry in roster.sites:
            if self._policy.known_keys.get(entry.site) != bytes.fromhex(entry.identity_key):
                raise Refused(
                    RefusalReason.UNKNOWN_SITE,
                    f"{self._site} does not know the site {entry.site} by this key",
                )
        if self._site not in roster.names or (
            roster.key_of(self._site) != self._identity.public_key
        ):
            raise Refused(
                RefusalReason.NOT_IN_ROSTER,
                f"{self._site} is not in the signed roster under its own key",
            )
        if len(roster.sites) < minimum_sites:
            raise Refused(
                RefusalReason.ROSTER_TOO_SMALL,
                f"the signed roster has {len(roster.sites)} sites; {self._site} asks for "
                f"{minimum_sites}",
            )
        return roster

    def joined(self, query: SumQuery) -> JoinedSession:
        """The session that a query for a sum belongs to; the first one brings all offers.

        Raises:
            Refused: this vault has no key of the session, or the offers are missing, not valid, or
                others than those by which it joined.
        """
        run = query.run_id, query.study_digest
        with self._lock:
            live = self._live(run, query.session)
            if live is not None and (not query.offers or query.offers == live.offers):
                self._runs.move_to_end(run)
                self._runs[run].move_to_end(query.session)
                return live.session
            opened = self._opened.get((*run, query.session))
            if opened is None:
                raise self._no_key(query, joined=live is not None)
            found = self._join(opened, query.offers, session=query.session)
            del self._opened[(*run, query.session)]
            self._keep(run, query.session, found)
            return found.session

    def roster_of(self, query: CloseSessionQuery) -> Roster:
        """The checked roster of a session; Refused with ``unknown_session`` if it is not known."""
        run = query.run_id, query.study_digest
        with self._lock:
            live = self._live(run, query.session)
            if live is not None:
                return live.session.roster
            opened = self._opened.get((*run, query.session))
            if opened is None:
                raise self._no_key(query, joined=False)
            return opened.roster

    def _live(self, run: _Run, session: int) -> _Joined | None:
        sessions = self._runs.get(run)
        return None if sessions is None else sessions.get(session)

    def _no_key(self, query: SumQuery | CloseSessionQuery, *, joined: bool) -> Refused:
        if joined:
            return Refused(
                RefusalReason.SESSION_KEYS,
                f"{self._site} joined session {query.session} by other keys",
            )
        return Refused(
            RefusalReason.UNKNOWN_SESSION,
            f"{self._site} has no key of session {query.session} of this run",
        )

    def _join(self, opened: _Opened, offers: tuple[SessionOffer, ...], *, session: int) -> _Joined:
        if not offers:
            raise Refused(
                RefusalReason.SESSION_KEYS,
                f"{self._site} was not sent the keys of session {session}",
            )
        try:
            masks = Session.join(opened.key, offers, roster=opened.roster)
        except SessionError as error:
            raise Refused(RefusalReason.SESSION_KEYS, str(error)) from error
        joined = JoinedSession(roster=opened.roster, participants=masks.participants, masks=masks)
        return _Joined(session=joined, offers=offers, opening=opened.opening)

    def _keep(self, run: _Run, session: int, joined: _Joined) -> None:
        sessions = self._runs.setdefault(run, OrderedDict())
        self._runs.move_to_end(run)
        sessions[session] = joined
        sessions.move_to_end(session)
        if len(sessions) > MAX_SESSIONS_OF_A_RUN:
            sessions.popitem(last=False)
        if len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)

    def _private_key(self, query: OpenSessionQuery, opening: int) -> bytes:
        place = [query.run_id, self._site, query.study_digest, query.session, opening]
        stream = self._randomness.stream(purpose="session-key", context=json.dumps(place).encode())
        return stream.uint64(4).astype("<u8").tobytes()
