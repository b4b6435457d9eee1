"""Sessions that add no masks: for simulations too large for them, and to show what they hide.

This lives with the simulations on purpose: a hospital's vault cannot be built with it by accident.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.vault.policy import Refused, SitePolicy
from fedward.client.vault.session_desk import JoinedSession, SessionDesk
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import CloseSessionQuery, OpenSessionQuery, SumQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.secure_sum.roster import Roster
from fedward.common.secure_sum.signatures import SiteIdentity

_Place = tuple[str, str, int]


@dataclass(frozen=True)
class NoMasks:
    """Adds nothing, so the coordinator sees each site's part and ``epsilon_alone`` applies."""

    def hide(self, masked: MaskedSum, elements: NDArray[np.uint64]) -> bool:  # noqa: ARG002
        """Leave the elements as they are."""
        return False


class UnmaskedDesk(SessionDesk):
    """Opens sessions like any other desk, and joins them without a secret.

    The roster is checked. Of the offers it counts alone which of the roster's sites they are of.
    """

    def __init__(
        self, *, site: str, identity: SiteIdentity, policy: SitePolicy, randomness: RandomSource
    ) -> None:
        super().__init__(site=site, identity=identity, policy=policy, randomness=randomness)
        self._unmasked: dict[_Place, OpenSessionQuery | JoinedSession] = {}

    def open(self, query: OpenSessionQuery, *, minimum_sites: int) -> SessionOffer:
        """Make a key that nobody will use."""
        offer = super().open(query, minimum_sites=minimum_sites)
        self._unmasked[_place(query)] = query
        return offer

    def joined(self, query: SumQuery) -> JoinedSession:
        """The session as its first query names it; Refused if it was not opened."""
        place = _place(query)
        found = self._unmasked.get(place)
        if isinstance(found, JoinedSession):
            return found
        if found is None or not query.offers:
            raise Refused(RefusalReason.UNKNOWN_SESSION, f"session {query.session} is not open")
        roster = found.signed_roster.roster
        offered = {offer.site for offer in query.offers}
        joined = JoinedSession(
            roster=roster,
            participants=tuple(site for site in roster.names if site in offered),
            masks=NoMasks(),
        )
        self._unmasked[place] = joined
        return joined

    def roster_of(self, query: CloseSessionQuery) -> Roster:
        """The checked roster of a session; Refused if it was not opened."""
        found = self._unmasked.get(_place(query))
        if found is None:
            raise Refused(RefusalReason.UNKNOWN_SESSION, f"session {query.session} is not open")
        return found.roster if isinstance(found, JoinedSession) else found.signed_roster.roster


def _place(query: OpenSessionQuery | CloseSessionQuery | SumQuery) -> _Place:
    return query.run_id, query.study_digest, query.session
