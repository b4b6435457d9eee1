from __future__ import annotations

import copy
import pickle
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from pydantic import ValidationError

from fedward.common.secure_sum.offers import (
    SessionError,
    SessionKey,
    SessionOffer,
    check_offer,
    check_offers,
)
from fedward.common.secure_sum.roster import Roster
from fedward.common.secure_sum.signatures import SecureSumError, SiteIdentity, verify

NAMES = ("a", "b", "c")
IDENTITIES = {
    name: SiteIdentity.from_private_bytes(sha256(name.encode()).digest())
    for name in (*NAMES, "stranger")
}
ROSTER = Roster.of({name: IDENTITIES[name].public_key for name in NAMES}, federation="heart")
STUDY, OTHER = "5" * 64, "7" * 64


def key_of(site: str, *, signer: str | None = None, **changes: Any) -> SessionKey:
    facts: dict[str, Any] = {
        "site": site,
        "run_id": "run",
        "study_digest": STUDY,
        "roster_digest": ROSTER.digest,
        "session": 1,
        "private_key": (site * 32).encode()[:32].upper(),
    }
    return SessionKey.make(IDENTITIES[signer or site], **(facts | changes))


OFFERS = tuple(key_of(name).offer for name in NAMES)


def replaced(**changes: Any) -> tuple[SessionOffer, ...]:
    """The session's offers, where site b's has other fields than b signed."""
    return OFFERS[0], OFFERS[1].model_copy(update=changes), OFFERS[2]


def test_an_offer_binds_everything_to_the_sites_identity() -> None:
    offer = OFFERS[0]

    assert (offer.site, offer.run_id, offer.session) == ("a", "run", 1)
    assert (offer.study_digest, offer.roster_digest) == (STUDY, ROSTER.digest)
    assert verify(
        IDENTITIES["a"].public_key,
        purpose="session-offer",
        message=offer.signed_message(),
        signature=bytes.fromhex(offer.signature),
    )


def test_an_offer_comes_back_from_json() -> None:
    assert SessionOffer.model_validate(OFFERS[0].model_dump(mode="json")) == OFFERS[0]


def test_offers_of_one_session_are_sorted_by_site() -> None:
    for own in OFFERS:
        assert check_offers(own, OFFERS[::-1], roster=ROSTER) == OFFERS
    # Not every site of the roster need take part.
    assert check_offers(OFFERS[0], OFFERS[:2], roster=ROSTER) == OFFERS[:2]


@pytest.mark.parametrize(
    "changes",
    [
        {"key": OFFERS[0].key},
        {"key": key_of("b", private_key=b"x" * 32).offer.key},
        {"signature": OFFERS[0].signature},
        {"signature": "0" * 128},
        {"signature": OFFERS[1].signature[:-2] + "ff"},
    ],
    ids=["another's key", "a key of the coordinator's", "another's signature", "zeros", "changed"],
)
def test_a_forged_offer_is_refused(changes: dict[str, str]) -> None:
    forged = replaced(**changes)

    with pytest.raises(SessionError, match="site b is not signed by that site"):
        check_offer(forged[1], roster=ROSTER)
    with pytest.raises(SecureSumError, match=r"site b is not signed|one session key"):
        check_offers(OFFERS[0], forged, roster=ROSTER)


@pytest.mark.parametrize("field", ["run_id", "study_digest", "roster_digest", "session"])
def test_an_offer_for_anything_else_is_refused(field: str) -> None:
    other: Any = {"session": 2, "run_id": "run-2"}.get(field, OTHER)
    replayed = key_of("b", **{field: other}).offer
    # It is honest, only not for this session ...
    check_offer(replayed, roster=ROSTER)
    with pytest.raises(SessionError, match=r"site b is for another (run|study|roster|session)"):
        check_offers(OFFERS[0], (OFFERS[0], replayed, OFFERS[2]), roster=ROSTER)
    # ... and cannot be turned into one for this session.
    turned = replayed.model_copy(update={field: getattr(OFFERS[1], field)})
    with pytest.raises(SessionError, match="not signed by that site"):
        check_offers(OFFERS[0], (OFFERS[0], turned, OFFERS[2]), roster=ROSTER)


@pytest.mark.parametrize("signer", ["stranger", "a", "c"])
def test_an_offer_that_another_signed_is_refused(signer: str) -> None:
    foreign = key_of("b", signer=signer).offer

    with pytest.raises(SessionError, match="site b is not signed by that site"):
        check_offers(OFFERS[0], (OFFERS[0], foreign, OFFERS[2]), roster=ROSTER)


def test_a_site_outside_the_roster_is_refused() -> None:
    foreign = key_of("stranger").offer

    with pytest.raises(SessionError, match=r"site stranger .* not in the roster"):
        check_offers(OFFERS[0], (*OFFERS, foreign), roster=ROSTER)


def test_two_offers_of_one_site_are_refused() -> None:
    for second in (OFFERS[1], key_of("b", private_key=b"x" * 32).offer):
        with pytest.raises(SessionError, match="two keys"):
            check_offers(OFFERS[0], (*OFFERS, second), roster=ROSTER)


def test_one_key_at_two_sites_is_refused() -> None:
    same = key_of("b", private_key=b"C" * 32).offer
    assert same.key == OFFERS[2].key

    with pytest.raises(SessionError, match="two sites offer one session key"):
        check_offers(OFFERS[0], (OFFERS[0], same, OFFERS[2]), roster=ROSTER)


def test_a_session_without_the_own_offer_is_refused() -> None:
    # The second is one that this site made, but for an opening that was replaced since.
    for offers in ((), OFFERS[1:], (key_of("a", private_key=b"x" * 32).offer, *OFFERS[1:])):
        with pytest.raises(SessionError, match="key that site a offered"):
            check_offers(OFFERS[0], offers, roster=ROSTER)


def test_a_session_of_another_roster_is_refused() -> None:
    grown = Roster.of(
        {name: identity.public_key for name, identity in IDENTITIES.items()},
        federation="heart",
        serial=2,
    )

    with pytest.raises(SessionError, match="another signed roster"):
        check_offers(OFFERS[0], OFFERS, roster=grown)


def test_a_key_has_one_spelling() -> None:
    # 2^255 - 18 is 1 again, and the highest bit is ignored (RFC 7748, section 5).
    for number in (
        2**255 - 19,
        2**255 - 18,
        int.from_bytes(bytes.fromhex(OFFERS[1].key), "little") + 2**255,
    ):
        key = number.to_bytes(32, "little").hex()
        unsigned = OFFERS[1].model_copy(update={"key": key})
        signature = IDENTITIES["b"].sign("session-offer", unsigned.signed_message())
        offer = unsigned.model_copy(update={"signature": signature.hex()})
        with pytest.raises(SessionError, match="canonical"):
            check_offer(offer, roster=ROSTER)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "a b"),
        ("run_id", ""),
        ("study_digest", "0"),
        ("roster_digest", None),
        ("session", 0),
        ("session", True),
        ("session", 10**6 + 1),
        ("key", "0" * 63),
        ("key", "A" * 64),
        ("signature", "0" * 64),
        ("more", 1),
    ],
)
def test_a_malformed_offer_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        SessionOffer.model_validate(OFFERS[0].model_dump() | {field: value})


def test_two_keys_agree_on_one_secret() -> None:
    first, second = key_of("a"), key_of("b")

    def public(key: SessionKey) -> X25519PublicKey:
        return X25519PublicKey.from_public_bytes(bytes.fromhex(key.offer.key))

    assert first.exchange(public(second)) == second.exchange(public(first))
    assert first.exchange(public(second)) != first.exchange(public(key_of("c")))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 private bytes"):
        key_of("a", private_key=bytes(size))


def test_a_session_key_shows_no_secret_and_cannot_be_copied() -> None:
    key = key_of("a", private_key=b"secret-secret-secret-secret-secr")

    assert "secret" not in f"{key!r}{key}{key.offer}"
    assert b"secret".hex() not in f"{key!r}{key}{key.offer}"
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            take(key)
