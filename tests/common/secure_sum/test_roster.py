from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedward.common.secure_sum.roster import (
    Roster,
    RosterError,
    RosterSite,
    SignedRoster,
    checked_roster,
    sign_roster,
)
from fedward.common.secure_sum.signatures import SecureSumError, SiteIdentity

FEDERATION = SiteIdentity.from_private_bytes(b"f" * 32)
NAMES = ("Berlin", "athens", "cairo")
KEYS = {
    name: SiteIdentity.from_private_bytes(bytes([number]) * 32).public_key
    for number, name in enumerate(NAMES)
}
ROSTER = Roster.of(KEYS, federation="heart", serial=3)
SIGNED = sign_roster(ROSTER, FEDERATION)


def body() -> dict[str, Any]:
    """The roster as JSON brings it."""
    return ROSTER.model_dump(mode="json")


@given(st.permutations(list(KEYS)))
def test_a_roster_does_not_depend_on_the_order_in_which_it_was_told(order: list[str]) -> None:
    again = Roster.of({name: KEYS[name] for name in order}, federation="heart", serial=3)

    assert again == ROSTER
    assert again.digest == ROSTER.digest
    assert again.names == NAMES


def test_the_digest_is_that_of_the_canonical_json() -> None:
    sites = ",".join(
        f'{{"identity_key":"{KEYS[name].hex()}","site":"{name}"}}' for name in ROSTER.names
    )
    text = f'{{"coordinator_key":null,"federation":"heart","serial":3,"sites":[{sites}]}}'

    assert ROSTER.digest == hashlib.sha256(text.encode()).hexdigest()


def test_any_change_is_another_digest() -> None:
    keys = KEYS | {"athens": KEYS["cairo"], "cairo": KEYS["athens"]}
    others = [
        Roster.of(KEYS, federation="heart", serial=4),
        Roster.of(KEYS, federation="hearts", serial=3),
        Roster.of(keys, federation="heart", serial=3),
        Roster.of({name: KEYS[name] for name in NAMES[1:]}, federation="heart", serial=3),
        Roster.of(KEYS | {"delhi": FEDERATION.public_key}, federation="heart", serial=3),
        Roster.of(KEYS, federation="heart", serial=3, coordinator_key=FEDERATION.public_key),
    ]

    assert len({roster.digest for roster in [ROSTER, *others]}) == 7
    for other in others:
        with pytest.raises(RosterError, match="not signed by the federation's key"):
            checked_roster(
                SignedRoster(roster=other, signature=SIGNED.signature),
                federation_key=FEDERATION.public_key,
            )


def test_a_signed_roster_comes_back_from_json() -> None:
    found = SignedRoster.model_validate(SIGNED.model_dump(mode="json"))

    assert found == SIGNED
    assert checked_roster(found, federation_key=FEDERATION.public_key) == ROSTER


@pytest.mark.parametrize(
    "stranger", [SiteIdentity.generate(), SiteIdentity.from_private_bytes(bytes(32))]
)
def test_a_roster_that_another_key_signed_is_refused(stranger: SiteIdentity) -> None:
    # The second is a site of the roster: a site may not write the roster.
    assert stranger.public_key != FEDERATION.public_key
    with pytest.raises(RosterError, match=r"heart .* is not signed"):
        checked_roster(sign_roster(ROSTER, stranger), federation_key=FEDERATION.public_key)
    with pytest.raises(SecureSumError):
        checked_roster(SIGNED, federation_key=stranger.public_key)


def test_a_signature_for_another_purpose_is_refused() -> None:
    signature = FEDERATION.sign("answer", bytes.fromhex(ROSTER.digest)).hex()

    with pytest.raises(RosterError):
        checked_roster(
            SignedRoster(roster=ROSTER, signature=signature), federation_key=FEDERATION.public_key
        )


def test_a_key_of_another_size_signed_nothing() -> None:
    with pytest.raises(RosterError):
        checked_roster(SIGNED, federation_key=FEDERATION.public_key[:-1])


def test_a_site_twice_is_refused() -> None:
    sites = body()["sites"]
    twice = [sites[0], sites[1] | {"site": sites[0]["site"]}, sites[2]]

    for entries in (twice, [*sites, sites[-1]]):
        with pytest.raises(ValidationError, match="a site in the roster twice"):
            Roster.model_validate(body() | {"sites": entries})


def test_a_key_twice_is_refused() -> None:
    # One machine under two names would count twice for the minimum.
    sites = body()["sites"]
    sites[1]["identity_key"] = sites[0]["identity_key"]

    with pytest.raises(ValidationError, match="an identity key in the roster twice"):
        Roster.model_validate(body() | {"sites": sites})


def test_a_coordinator_that_is_a_site_is_refused() -> None:
    # It would counter-sign its own ledger.
    with pytest.raises(ValidationError, match="the coordinator's key is a site's own"):
        Roster.of(KEYS, federation="heart", coordinator_key=KEYS["cairo"])


def test_another_order_of_sites_is_refused() -> None:
    with pytest.raises(ValidationError, match="sorted by name"):
        Roster.model_validate(body() | {"sites": body()["sites"][::-1]})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("federation", ""),
        ("federation", "x" * 101),
        ("federation", None),
        ("serial", 0),
        ("serial", True),
        ("serial", "1"),
        ("serial", 10**9 + 1),
        ("sites", []),
        ("sites", {}),
        ("sites", [{"site": "a"}]),
        ("sites", [{"site": "a b", "identity_key": "0" * 64}]),
        ("sites", [{"site": "a", "identity_key": "0" * 63}]),
        ("sites", [{"site": "a", "identity_key": "A" * 64}]),
        ("sites", [{"site": "a", "identity_key": "0" * 64, "more": 1}]),
        ("more", 1),
    ],
    ids=repr,
)
def test_a_malformed_roster_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Roster.model_validate(body() | {field: value})


@pytest.mark.parametrize("signature", ["", "0" * 127, "0" * 129, "G" * 128, None])
def test_a_malformed_signature_is_refused(signature: Any) -> None:
    with pytest.raises(ValidationError):
        SignedRoster.model_validate({"roster": body(), "signature": signature})


def test_a_roster_holds_at_most_ten_thousand_sites() -> None:
    sites = tuple(
        RosterSite(site=f"s{number:05}", identity_key=f"{number:064x}") for number in range(10_001)
    )

    with pytest.raises(ValidationError, match="at most 10000"):
        Roster(federation="f", serial=1, sites=sites)
    roster = Roster(federation="f", serial=1, sites=sites[1:])
    assert roster.key_of("s04711") == (4711).to_bytes(32, "big")


def test_every_site_has_its_key_and_a_stranger_none() -> None:
    assert {name: ROSTER.key_of(name) for name in NAMES} == KEYS
    for stranger in ("", "Aachen", "berlin", "bonn", "zurich"):
        with pytest.raises(RosterError, match="not in the roster of heart"):
            ROSTER.key_of(stranger)


def test_a_roster_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ROSTER.serial = 4
    with pytest.raises(ValidationError):
        ROSTER.sites[0].site = "other"
