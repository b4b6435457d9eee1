from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedward import client
from fedward.client.vault.policy import Refused, SitePolicy
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import (
    AnySumQuery,
    CloseSessionQuery,
    MomentsQuery,
    OpenSessionQuery,
)
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.simulations.credentials import Credentials
from fedward.simulations.unmasked import UnmaskedDesk

SITES = ("north", "south")
RANDOMNESS = RandomSource.insecure(0)
CREDENTIALS = Credentials.issue(SITES, run_id="run", randomness=RANDOMNESS)
STUDY_DIGEST = "0" * 64


def desk_of(site: str, *, federation_key: bytes = CREDENTIALS.federation_key) -> UnmaskedDesk:
    return UnmaskedDesk(
        site=site,
        identity=SiteIdentity.from_private_bytes(CREDENTIALS.identities[site]),
        policy=SitePolicy(federation_key=federation_key, known_keys=CREDENTIALS.known_keys),
        randomness=RANDOMNESS,
    )


def opening(session: int = 1) -> OpenSessionQuery:
    return OpenSessionQuery(
        run_id="run",
        study_digest=STUDY_DIGEST,
        session=session,
        signed_roster=CREDENTIALS.signed_roster,
    )


def asking(session: int = 1, **changes: object) -> AnySumQuery:
    fields = {
        "run_id": "run",
        "study_digest": STUDY_DIGEST,
        "session": session,
        "roster": SITES,
        "round": 0,
        "attempt": 1,
    }
    return MomentsQuery.model_validate(fields | changes)


def test_a_session_is_joined_by_its_first_query_and_hides_nothing() -> None:
    desks = [desk_of(site) for site in SITES]
    offers = tuple(desk.open(opening(), minimum_sites=2) for desk in desks)
    joined = desks[0].joined(asking(offers=offers))
    elements = np.arange(5, dtype=np.uint64)
    masked = MaskedSum(
        run_id="run",
        study_digest=STUDY_DIGEST,
        session=1,
        roster=SITES,
        round=0,
        attempt=1,
        query_digest="1" * 64,
    )

    assert joined.participants == SITES
    assert joined.roster == CREDENTIALS.signed_roster.roster
    assert joined.masks.hide(masked, elements) is False
    assert elements.tolist() == [0, 1, 2, 3, 4]
    assert desks[0].joined(asking(round=1)) is joined


def test_a_session_that_was_not_opened_is_unknown() -> None:
    desk = desk_of("north")
    offer = desk.open(opening(), minimum_sites=2)

    for query in (asking(session=2, offers=(offer,)), asking()):
        with pytest.raises(Refused) as caught:
            desk.joined(query)
        assert caught.value.reason == RefusalReason.UNKNOWN_SESSION


def test_a_session_has_its_roster_from_its_opening_on() -> None:
    desks = [desk_of(site) for site in SITES]
    closing = CloseSessionQuery(run_id="run", study_digest=STUDY_DIGEST, session=1)
    with pytest.raises(Refused) as caught:
        desks[0].roster_of(closing)
    assert caught.value.reason == RefusalReason.UNKNOWN_SESSION
    offers = tuple(desk.open(opening(), minimum_sites=2) for desk in desks)

    assert desks[0].roster_of(closing) == CREDENTIALS.signed_roster.roster
    desks[0].joined(asking(offers=offers))
    assert desks[0].roster_of(closing) == CREDENTIALS.signed_roster.roster


def test_the_roster_is_checked_all_the_same() -> None:
    stranger = Credentials.issue(SITES, run_id="other", randomness=RANDOMNESS)
    desk = desk_of("north", federation_key=stranger.federation_key)

    with pytest.raises(Refused) as caught:
        desk.open(opening(), minimum_sites=2)
    assert caught.value.reason == RefusalReason.ROSTER_SIGNATURE


def test_a_hospitals_room_knows_of_no_session_without_masks() -> None:
    sources = [path.read_text("utf-8") for path in Path(client.__file__).parent.rglob("*.py")]

    assert len(sources) > 10
    assert not any("NoMasks" in source or "UnmaskedDesk" in source for source in sources)
