from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.client.vault.policy import Refused
from fedward.client.vault.session_desk import (
    MAX_OPENED,
    MAX_RUNS,
    MAX_SESSIONS_OF_A_RUN,
    JoinedSession,
    SessionDesk,
)
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study

MakeStudy = Callable[..., Study]
MakeQuery = Callable[..., AnySumQuery]
SITES = ("site-0", "site-1", "site-2")
Offers = tuple[SessionOffer, ...]
Open = Callable[..., Offers]
Desks = dict[str, SessionDesk]


@pytest.fixture
def desks(federation: Any) -> Desks:
    """Desks of three sites, nothing opened."""
    return {site: federation.desk(site) for site in SITES}


@pytest.fixture
def opened(federation: Any, study: Study) -> Open:
    """Open a session at desks and give their offers."""

    def make(desks: Desks, *, study: Study = study, minimum: int = 2, **changes: Any) -> Offers:
        query = federation.query_for_session(study, **changes)
        return tuple(desk.open(query, minimum_sites=minimum) for desk in desks.values())

    return make


def reason_of(call: Callable[[], object]) -> RefusalReason:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.reason


def mask_of(session: JoinedSession, query: AnySumQuery) -> np.ndarray[Any, np.dtype[np.uint64]]:
    zeros = np.zeros(100, dtype=np.uint64)
    masked = MaskedSum(
        run_id=query.run_id,
        study_digest=query.study_digest,
        session=query.session,
        roster=query.roster,
        round=query.round,
        attempt=query.attempt,
        query_digest="5" * 64,
    )
    assert session.masks.hide(masked, zeros)
    return zeros


def test_desks_that_join_one_session_hold_masks_that_cancel(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    query = make_query(study, offers=opened(desks))
    sessions = {site: desk.joined(query) for site, desk in desks.items()}
    masks = [mask_of(session, query) for session in sessions.values()]

    assert {session.participants for session in sessions.values()} == {SITES}
    assert all(len(np.unique(mask)) == 100 for mask in masks)
    assert not np.sum(masks, axis=0).any()


def test_a_session_is_joined_once_and_then_remembered(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    offers = opened(desks)
    desk = desks["site-0"]
    session = desk.joined(make_query(study, offers=offers))

    assert desk.joined(make_query(study, round=2)) is session
    assert desk.joined(make_query(study, round=2, offers=offers)) is session


def test_the_roster_of_a_session_is_the_whole_signed_one(
    study: Study,
    federation: Any,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    session = desks["site-0"].joined(make_query(study, offers=opened(desks)))

    assert session.roster == federation.signed.roster
    assert len(session.roster.sites) > len(session.participants)


def test_a_session_that_was_never_opened_is_unknown(
    study: Study,
    make_study: MakeStudy,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    offers = opened(desks)
    other = make_study(about={"version": 2})
    desk = desks["site-0"]

    for query in (
        make_query(study, session=2, offers=offers),
        make_query(study, run_id="other", offers=offers),
        make_query(other, offers=offers),
    ):
        assert reason_of(lambda query=query: desk.joined(query)) == RefusalReason.UNKNOWN_SESSION


def test_a_session_without_the_others_keys_is_refused(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    offers = opened(desks)
    desk = desks["site-0"]

    assert reason_of(lambda: desk.joined(make_query(study))) == RefusalReason.SESSION_KEYS
    # It can still be joined: nothing was spoilt.
    assert desk.joined(make_query(study, offers=offers)).participants == SITES


def changed(offers: Offers, site: str, **fields: Any) -> Offers:
    return tuple(
        offer.model_copy(update=fields) if offer.site == site else offer for offer in offers
    )


def renamed(offers: Offers, site: str) -> Offers:
    return tuple(offer.model_copy(update={"site": site}) for offer in offers)


@pytest.fixture
def spoilt(
    study: Study, make_study: MakeStudy, federation: Any, opened: Open
) -> dict[str, Callable[[Offers], Offers]]:
    """Ways to spoil the offers of a session, by what is wrong with them."""
    sites = {site: federation.desk(site) for site in SITES}

    def other(offers: Offers, **changes: Any) -> Offers:
        """The same sites, with the key of one from somewhere else."""
        foreign = {offer.site: offer for offer in opened(sites, **changes)}
        return tuple(foreign["site-1"] if o.site == "site-1" else o for o in offers)

    def signed_by(offers: Offers, site: str, signer: SiteIdentity, **fields: Any) -> Offers:
        (offer,) = (
            offer.model_copy(update=fields) for offer in changed(offers, site) if offer.site == site
        )
        signature = signer.sign("session-offer", offer.signed_message()).hex()
        return changed(offers, site, **fields, signature=signature)

    stranger, foreign_key = SiteIdentity.generate(), "7" * 64
    return {
        "a key that was exchanged": lambda offers: changed(offers, "site-1", key=foreign_key),
        "a forged signature": lambda offers: changed(offers, "site-1", signature="0" * 128),
        "a key signed by a stranger": lambda offers: signed_by(
            offers, "site-1", stranger, key=foreign_key
        ),
        "a key signed by another site": lambda offers: signed_by(
            offers, "site-1", federation.identities["site-2"], key=foreign_key
        ),
        "a key replayed from another run": lambda offers: other(offers, run_id="earlier"),
        "a key replayed from another session": lambda offers: other(offers, session=2),
        "a key for another study": lambda offers: other(
            offers, study=make_study(about={"version": 7})
        ),
        "a key for another signed roster": lambda offers: other(
            offers, signed=federation.signed_for(SITES, serial=2)
        ),
        "a site outside of the roster": lambda offers: (
            *offers,
            *signed_by(renamed(offers[-1:], "stranger"), "stranger", stranger),
        ),
        "another key of its own": lambda offers: signed_by(
            offers, "site-0", federation.identities["site-0"], key=foreign_key
        ),
        "no key of its own": lambda offers: offers[1:],
        "one key of two sites": lambda offers: signed_by(
            offers, "site-2", federation.identities["site-2"], key=offers[1].key
        ),
        "a key of low order": lambda offers: signed_by(
            offers, "site-1", federation.identities["site-1"], key="0" * 64
        ),
    }


SPOILT = (
    "a key that was exchanged",
    "a forged signature",
    "a key signed by a stranger",
    "a key signed by another site",
    "a key replayed from another run",
    "a key replayed from another session",
    "a key for another study",
    "a key for another signed roster",
    "a site outside of the roster",
    "another key of its own",
    "no key of its own",
    "one key of two sites",
    "a key of low order",
)


@pytest.mark.parametrize("what", SPOILT)
def test_keys_that_make_no_session_are_refused(
    study: Study,
    desks: Desks,
    opened: Open,
    spoilt: dict[str, Callable[[Offers], Offers]],
    make_query: MakeQuery,
    what: str,
) -> None:
    assert tuple(spoilt) == SPOILT
    sound = opened(desks)
    bad = spoilt[what](sound)
    desk = desks["site-0"]

    assert bad != sound
    query = make_query(study, offers=bad)
    assert reason_of(lambda: desk.joined(query)) == RefusalReason.SESSION_KEYS
    # What was refused leaves nothing behind.
    assert desk.joined(make_query(study, offers=sound)).participants == SITES


def test_a_second_set_of_keys_for_one_session_is_refused(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    offers = opened(desks)
    desk = desks["site-0"]
    session = desk.joined(make_query(study, offers=offers))

    for second in (offers[:2], (offers[0], *opened({"site-1": desks["site-1"]}), offers[2])):
        query = make_query(study, round=2, offers=second)
        assert reason_of(lambda query=query: desk.joined(query)) == RefusalReason.SESSION_KEYS
    assert desk.joined(make_query(study, round=2)) is session


def test_every_opening_has_a_fresh_key(study: Study, federation: Any, opened: Open) -> None:
    desks = [federation.desk("site-0"), federation.desk("site-0")]
    keys = [
        opened({"site-0": desk}, **changes)[0].key
        for desk in desks
        for changes in ({}, {}, {"session": 2}, {"run_id": "other"})
    ]

    assert len(set(keys)) == len(keys)


def test_desks_seeded_alike_share_no_key(study: Study, federation: Any, opened: Open) -> None:
    def keys_of(site: str) -> list[str]:
        desk = {site: federation.desk(site, seed=7)}
        return [opened(desk, **c)[0].key for c in ({}, {}, {"session": 2}, {"run_id": "other"})]

    # The seed is for a rerun of the same site; it must not make two sites one.
    assert keys_of("site-0") == keys_of("site-0")
    assert len({*keys_of("site-0"), *keys_of("site-1")}) == 8


def test_opening_a_session_again_replaces_a_key_that_waits(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    first, second = opened(desks), opened(desks)
    desk = desks["site-0"]

    stale = make_query(study, offers=first)
    assert reason_of(lambda: desk.joined(stale)) == RefusalReason.SESSION_KEYS
    assert desk.joined(make_query(study, offers=second)).participants == SITES


def test_a_joined_session_lasts_until_another_one_is_joined_in_its_place(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    first = opened(desks)
    desk = desks["site-0"]
    session = desk.joined(make_query(study, offers=first))
    second = opened(desks)

    # Whoever opens it again, and sends keys that make no session, takes nothing away.
    spoilt = make_query(study, offers=(first[0], *second[1:]))
    foreign = changed(second, "site-1", signature="0" * 128)
    for query in (spoilt, make_query(study, offers=foreign)):
        assert reason_of(lambda query=query: desk.joined(query)) == RefusalReason.SESSION_KEYS
        assert desk.joined(make_query(study, offers=first)) is session
        assert desk.joined(make_query(study)) is session

    again = desk.joined(make_query(study, offers=second))
    assert again is not session
    assert desk.joined(make_query(study)) is again
    stale = make_query(study, offers=first)
    assert reason_of(lambda: desk.joined(stale)) == RefusalReason.SESSION_KEYS
    query = make_query(study)
    assert not np.array_equal(mask_of(session, query), mask_of(again, query))


def test_a_roster_that_the_federation_did_not_sign_is_refused(
    study: Study, federation: Any, desks: Desks
) -> None:
    signed = federation.signed
    forger = type(federation)(identities=federation.identities)
    grown = federation.signed_for(SITES).roster
    for bad in (
        forger.signed,
        signed.model_copy(update={"signature": "0" * 128}),
        signed.model_copy(update={"roster": grown}),
        signed.model_copy(update={"roster": signed.roster.model_copy(update={"serial": 2})}),
    ):
        query = federation.query_for_session(study, signed=bad)
        reason = reason_of(lambda query=query: desks["site-0"].open(query, minimum_sites=2))
        assert reason == RefusalReason.ROSTER_SIGNATURE


def test_a_signed_roster_with_a_site_or_key_that_is_not_pinned_is_refused(
    study: Study, federation: Any, desks: Desks
) -> None:
    new = SiteIdentity.generate().public_key
    for keys in (federation.keys | {"new": new}, federation.keys | {"site-1": new}):
        query = federation.query_for_session(study, signed=federation.sign(keys))
        reason = reason_of(lambda query=query: desks["site-0"].open(query, minimum_sites=2))
        assert reason == RefusalReason.UNKNOWN_SITE


def test_a_signed_roster_without_the_site_or_with_another_key_of_its_is_refused(
    study: Study, federation: Any, desks: Desks
) -> None:
    without = federation.query_for_session(study, signed=federation.signed_for(SITES[1:]))
    reason = reason_of(lambda: desks["site-0"].open(without, minimum_sites=2))
    assert reason == RefusalReason.NOT_IN_ROSTER

    impostor = SessionDesk(
        site="site-0",
        identity=SiteIdentity.generate(),
        policy=federation.policy(),
        randomness=RandomSource.from_os(),
    )
    query = federation.query_for_session(study)
    reason = reason_of(lambda: impostor.open(query, minimum_sites=2))
    assert reason == RefusalReason.NOT_IN_ROSTER


def test_a_signed_roster_below_the_minimum_is_refused(
    study: Study, federation: Any, desks: Desks
) -> None:
    query = federation.query_for_session(study, signed=federation.signed_for(SITES))

    reason = reason_of(lambda: desks["site-0"].open(query, minimum_sites=4))
    assert reason == RefusalReason.ROSTER_TOO_SMALL
    desks["site-0"].open(query, minimum_sites=3)


def test_sites_of_two_rosters_join_no_session(
    study: Study,
    federation: Any,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    # Both are signed, so each desk opens by the one that it is shown.
    first = opened({"site-0": desks["site-0"]})
    others = {site: desks[site] for site in SITES[1:]}
    second = opened(others, signed=federation.signed_for(SITES, serial=2))
    query = make_query(study, offers=(*first, *second))

    for desk in desks.values():
        assert reason_of(lambda desk=desk: desk.joined(query)) == RefusalReason.SESSION_KEYS


def test_openings_drive_no_joined_session_out(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    offers, desk = opened(desks), desks["site-0"]
    session = desk.joined(make_query(study, offers=offers))
    waiting = opened(desks, run_id="waiting")
    # Anybody may open sessions, of this run and of others.
    for number in range(2, 3 * MAX_OPENED):
        opened({"site-0": desk}, session=number)
        opened({"site-0": desk}, run_id=f"run-{number}")

    assert desk.joined(make_query(study, round=2)) is session
    # What merely waits is forgotten, the oldest first.
    for query in (
        make_query(study, run_id="waiting", offers=waiting),
        make_query(study, session=2, offers=offers),
    ):
        assert reason_of(lambda query=query: desk.joined(query)) == RefusalReason.UNKNOWN_SESSION
    assert len(desk._opened) == MAX_OPENED


def test_a_run_keeps_the_sessions_that_it_uses(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    desk = desks["site-0"]
    session = desk.joined(make_query(study, offers=opened(desks)))
    for number in range(2, MAX_SESSIONS_OF_A_RUN + 2):
        assert desk.joined(make_query(study, round=number)) is session
        desk.joined(make_query(study, session=number, offers=opened(desks, session=number)))

    assert desk.joined(make_query(study, round=1)) is session
    forgotten = make_query(study, session=2)
    assert reason_of(lambda: desk.joined(forgotten)) == RefusalReason.UNKNOWN_SESSION
    desk.joined(make_query(study, session=3))


def test_nobody_fills_the_memory_with_runs(
    study: Study,
    desks: Desks,
    opened: Open,
    make_query: MakeQuery,
) -> None:
    desk = desks["site-0"]
    session = desk.joined(make_query(study, offers=opened(desks)))
    for number in range(MAX_RUNS):
        assert desk.joined(make_query(study)) is session
        run_id = f"run-{number}"
        desk.joined(make_query(study, run_id=run_id, offers=opened(desks, run_id=run_id)))

    assert desk.joined(make_query(study)) is session
    forgotten = make_query(study, run_id="run-0")
    assert reason_of(lambda: desk.joined(forgotten)) == RefusalReason.UNKNOWN_SESSION
    desk.joined(make_query(study, run_id="run-1"))
