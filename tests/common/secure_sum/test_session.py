from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedward.common.secure_sum.masks import MaskedSum, Masks
from fedward.common.secure_sum.roster import Roster
from fedward.common.secure_sum.session import Session, SessionError, SessionKey, SessionOffer
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.secure_sum.transcript import transcript

NAMES = tuple(f"site-{number}" for number in range(5))
IDENTITIES = {
    name: SiteIdentity.from_private_bytes(sha256(name.encode()).digest()) for name in NAMES
}
ROSTER = Roster.of({name: IDENTITIES[name].public_key for name in NAMES}, federation="heart")
STUDY, OTHER = "5" * 64, "7" * 64
QUERY = "9" * 64


def private_of(site: str) -> bytes:
    return sha256(b"private" + site.encode()).digest()


def key_of(site: str, roster: Roster = ROSTER, **changes: Any) -> SessionKey:
    facts: dict[str, Any] = {
        "site": site,
        "run_id": "run",
        "study_digest": STUDY,
        "roster_digest": roster.digest,
        "session": 1,
        "private_key": private_of(site),
    }
    return SessionKey.make(IDENTITIES[site], **(facts | changes))


def joined(
    names: tuple[str, ...] = NAMES, roster: Roster = ROSTER, **changes: Any
) -> dict[str, Session]:
    """One session, as each of its sites joins it."""
    keys = [key_of(name, roster, **changes) for name in names]
    offers = [key.offer for key in keys]
    return {key.offer.site: Session.join(key, offers, roster=roster) for key in keys}


def masked(roster: tuple[str, ...] = NAMES, **changes: Any) -> MaskedSum:
    facts: dict[str, Any] = {
        "run_id": "run",
        "study_digest": STUDY,
        "session": 1,
        "roster": roster,
        "round": 1,
        "attempt": 1,
        "query_digest": QUERY,
    }
    return MaskedSum(**(facts | changes))


def mask(session: Session, what: MaskedSum, length: int = 100) -> NDArray[np.uint64]:
    elements = np.zeros(length, dtype=np.uint64)
    session.hide(what, elements)
    return elements


def total(masks: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.sum(masks, axis=0, dtype=np.uint64)


@given(
    participants=st.sets(st.sampled_from(NAMES), min_size=2).map(sorted).map(tuple),
    length=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_the_masks_of_any_roster_cancel_and_those_of_fewer_sites_do_not(
    participants: tuple[str, ...], length: int, seed: int, data: st.DataObject
) -> None:
    sessions = joined(participants)
    round_roster = tuple(
        sorted(data.draw(st.sets(st.sampled_from(participants), min_size=2), label="roster"))
    )
    generator = np.random.default_rng(seed)
    plain = {name: generator.integers(0, 2**64, length, dtype=np.uint64) for name in round_roster}
    hidden = {name: elements.copy() for name, elements in plain.items()}
    for name in round_roster:
        assert sessions[name].hide(masked(round_roster), hidden[name])

    assert np.array_equal(total([*hidden.values()]), total([*plain.values()]))
    for name in round_roster:
        assert np.all(hidden[name] != plain[name])
        rest = [other for other in round_roster if other != name]
        missing = total([hidden[other] for other in rest])
        assert np.all(missing != total([plain[other] for other in rest]))


@pytest.mark.parametrize("length", [2**14 - 1, 2**14, 40_000])
def test_the_masks_of_long_releases_cancel(length: int) -> None:
    sessions = joined()

    assert not total([mask(sessions[name], masked(), length) for name in NAMES]).any()


CHANGES = st.one_of(
    st.integers(0, 10**6).filter(lambda number: number != 1).map(lambda number: {"round": number}),
    st.integers(2, 10**6).map(lambda number: {"attempt": number}),
    st.binary(min_size=32, max_size=32).map(lambda digest: {"query_digest": digest.hex()}),
)


@given(CHANGES)
def test_a_site_that_is_asked_something_else_adds_a_mask_that_does_not_cancel(
    change: dict[str, Any],
) -> None:
    # Another query digest is what a coordinator makes that sends sites different models.
    sessions = joined()
    masks = [mask(sessions[name], masked()) for name in NAMES[1:]]
    asked_alike, asked_else = joined()[NAMES[0]], joined()[NAMES[0]]

    assert not total([*masks, mask(asked_alike, masked())]).any()
    assert np.all(total([*masks, mask(asked_else, masked(**change))]) != 0)


@pytest.mark.parametrize("roster", [NAMES[:2], NAMES[:4], (*NAMES[:2], NAMES[4])])
def test_a_site_that_is_told_another_roster_adds_a_mask_that_does_not_cancel(
    roster: tuple[str, ...],
) -> None:
    # Not even in part: the keys of all pairs differ, not only those of the sites left out.
    sessions, others = joined(), joined()
    first = NAMES[0]
    masks = [mask(sessions[name], masked()) for name in NAMES[1:]]

    assert np.all(total([*masks, mask(others[first], masked(roster))]) != 0)
    # Nor do the masks of the sites that were told the smaller roster meet the larger's.
    left = [mask(others[name], masked(roster)) for name in roster[1:]]
    assert np.all(total([mask(sessions[first], masked()), *left]) != 0)


@pytest.mark.parametrize(
    "change", [{"run_id": "run-2"}, {"study_digest": OTHER}, {"session": 2}], ids=str
)
def test_every_run_study_and_session_has_its_own_masks(change: dict[str, Any]) -> None:
    # The same X25519 keys on purpose: what the masks are bound to must be enough.
    names = NAMES[:2]
    here, there = joined(names), joined(names, **change)
    mine = mask(here[names[0]], masked(names))

    assert not total([mine, mask(here[names[1]], masked(names))]).any()
    assert np.all(total([mine, mask(there[names[1]], masked(names, **change))]) != 0)


def test_every_signed_roster_has_its_own_masks() -> None:
    grown = Roster.of(
        {name: IDENTITIES[name].public_key for name in NAMES}, federation="heart", serial=2
    )
    names = NAMES[:2]
    here, there = joined(names), joined(names, roster=grown)

    assert np.all(
        total([mask(here[names[0]], masked(names)), mask(there[names[1]], masked(names))]) != 0
    )


def test_sites_that_were_shown_different_offers_share_no_mask() -> None:
    # A coordinator that splits a session in two must not make either half add up.
    few, many = joined(NAMES[:2]), joined(NAMES[:3])
    roster = NAMES[:2]

    assert few[NAMES[0]].digest == few[NAMES[1]].digest != many[NAMES[0]].digest
    assert np.all(
        total([mask(few[NAMES[0]], masked(roster)), mask(many[NAMES[1]], masked(roster))]) != 0
    )


def test_the_mask_of_a_longer_sum_is_another_one() -> None:
    shorter, longer = joined()[NAMES[0]], joined()[NAMES[0]]

    assert np.all(mask(shorter, masked(), 20) != mask(longer, masked(), 21)[:20])


def test_a_mask_is_what_the_protocol_says() -> None:
    """From the primitives alone, as another implementation would do it."""
    first, second, third = names = NAMES[:3]
    sessions = joined(names)
    offers = {name: key_of(name).offer for name in names}
    bound = ("run", STUDY, ROSTER.digest, 1)
    keys = [part for name in names for part in (name, offers[name].key, offers[name].signature)]
    digest = sha256(transcript("session", *bound, *keys)).hexdigest()
    info = sha256(transcript("sum", "run", STUDY, 1, 1, 1, QUERY, 50, *names)).digest()

    def keystream(low: str, high: str) -> NDArray[np.uint64]:
        shared = X25519PrivateKey.from_private_bytes(private_of(low)).exchange(
            X25519PublicKey.from_public_bytes(bytes.fromhex(offers[high].key))
        )
        pair = transcript("pair", *bound, digest, low, offers[low].key, high, offers[high].key)
        secret = HKDF(SHA256(), 32, b"fedward/secure-sum/1", pair).derive(shared)
        key = HKDFExpand(SHA256(), 32, info).derive(secret)
        words = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(400))
        return np.frombuffer(words, dtype="<u8")

    assert sessions[second].digest == digest
    expected = keystream(second, third) - keystream(first, second)
    assert np.array_equal(mask(sessions[second], masked(names), 50), expected)


def byte_p_value(elements: NDArray[np.uint64]) -> float:
    """Chi-square test that the bytes of ring elements are uniform."""
    counts = np.bincount(elements.view(np.uint8), minlength=256)
    return float(stats.chisquare(counts).pvalue)


def test_a_hidden_release_looks_uniform() -> None:
    # A release as it is: small numbers, nearly all of whose high bytes are 0 or 255.
    release = (1000 * np.sin(np.arange(2**17))).astype(np.int64).view(np.uint64)
    assert byte_p_value(release) < 1e-100
    for name in NAMES[:3]:
        hidden = release.copy()
        joined()[name].hide(masked(), hidden)
        assert byte_p_value(hidden) > 1e-6
        assert abs(np.corrcoef(hidden[1:], hidden[:-1])[0, 1]) * np.sqrt(hidden.size) < 5
        assert abs(np.corrcoef(hidden, release.view(np.int64))[0, 1]) * np.sqrt(hidden.size) < 5
        hidden[::2] |= np.uint64(1)
        assert byte_p_value(hidden) < 1e-100


def test_two_sums_have_unrelated_masks() -> None:
    session = joined()[NAMES[0]]
    first = mask(session, masked(), 2**16)
    second = mask(session, masked(attempt=2), 2**16)

    assert byte_p_value(first - second) > 1e-6
    assert byte_p_value(first ^ second) > 1e-6


def test_a_site_alone_is_not_hidden_and_says_so() -> None:
    alone = (NAMES[2],)
    for session in (joined()[NAMES[2]], joined(alone)[NAMES[2]]):
        elements = np.arange(10, dtype=np.uint64)

        assert session.hide(masked(alone), elements) is False
        assert elements.tolist() == list(range(10))


def test_a_round_and_attempt_are_masked_once() -> None:
    # Two releases under one mask give away their difference.
    session = joined()[NAMES[0]]
    mask(session, masked())
    for change in ({}, {"query_digest": OTHER}, {"roster": NAMES[:3]}):
        elements = np.zeros(100, dtype=np.uint64)
        with pytest.raises(SessionError, match="masked before"):
            session.hide(masked(**change), elements)
        assert not elements.any()
    mask(session, masked(attempt=2))
    mask(session, masked(round=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": "run-2"}, "run run, not run-2"),
        ({"study_digest": OTHER}, "study"),
        ({"session": 2}, "session 1, not 2"),
        ({"roster": NAMES[1:]}, "site-0 is not in the round's roster"),
        ({"roster": ()}, "not in the round's roster"),
        ({"roster": NAMES[::-1]}, "sorted"),
        ({"roster": (NAMES[0], NAMES[1], NAMES[1])}, "sorted"),
        ({"roster": (NAMES[0], NAMES[0], NAMES[1])}, "sorted"),
        ({"roster": (*NAMES[:4], "zurich")}, "not in this session: zurich"),
        ({"roster": (NAMES[0], NAMES[4])}, "not in this session: site-4"),
    ],
)
def test_a_sum_that_is_not_the_sessions_is_refused(change: dict[str, Any], message: str) -> None:
    session = joined(NAMES[:4])[NAMES[0]]
    elements = np.zeros(10, dtype=np.uint64)
    with pytest.raises(SessionError, match=message):
        session.hide(masked(**({"roster": NAMES[:4]} | change)), elements)

    assert not elements.any()
    # And it does not use up the place.
    assert session.hide(masked(NAMES[:4]), elements)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(10),
        np.zeros(10, dtype=np.int64),
        np.zeros((2, 5), dtype=np.uint64),
        np.zeros(0, dtype=np.uint64),
        np.zeros(20, dtype=np.uint64)[::2],
    ],
    ids=["float", "signed", "matrix", "empty", "strided"],
)
def test_other_elements_are_refused(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="ring elements"):
        joined()[NAMES[0]].hide(masked(), wrong)

    assert not wrong.any()


# The points whose order divides 8, in canonical form: u = 0, 1, two of order 8, and p - 1
# (https://cr.yp.to/ecdh.html#validate).
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("key", LOW_ORDER)
def test_a_key_of_low_order_is_refused(key: str) -> None:
    # With it everybody knows the shared secret: zero.
    own = key_of(NAMES[0])
    unsigned = key_of(NAMES[1]).offer.model_copy(update={"key": key})
    signature = IDENTITIES[NAMES[1]].sign("session-offer", unsigned.signed_message())
    low = unsigned.model_copy(update={"signature": signature.hex()})

    with pytest.raises(SessionError, match="site-1 offers a key of low order"):
        Session.join(own, [own.offer, low], roster=ROSTER)


def test_offers_are_checked() -> None:
    own, peer = key_of(NAMES[0]), key_of(NAMES[1]).offer
    forged = peer.model_copy(update={"key": key_of(NAMES[2]).offer.key})

    with pytest.raises(SessionError, match="not signed"):
        Session.join(own, [own.offer, forged], roster=ROSTER)
    with pytest.raises(SessionError, match="key that site site-0 offered"):
        Session.join(own, [peer], roster=ROSTER)


def test_all_sites_join_one_session_whatever_the_order_of_offers() -> None:
    keys = [key_of(name) for name in NAMES]
    offers: list[SessionOffer] = [key.offer for key in keys]
    sessions = [
        Session.join(key, offers[turn:] + offers[:turn], roster=ROSTER)
        for turn, key in enumerate(keys)
    ]

    assert {session.participants for session in sessions} == {NAMES}
    assert len({session.digest for session in sessions}) == 1
    fresh = joined(session=2)
    assert fresh[NAMES[0]].digest != sessions[0].digest


def test_fresh_keys_make_fresh_masks() -> None:
    private = {name: os.urandom(32) for name in NAMES[:2]}
    keys = [key_of(name, private_key=private[name]) for name in NAMES[:2]]
    again = Session.join(keys[0], [key.offer for key in keys], roster=ROSTER)
    before = joined(NAMES[:2])

    assert np.all(mask(again, masked(NAMES[:2])) != mask(before[NAMES[0]], masked(NAMES[:2])))


def test_a_session_counts_its_time() -> None:
    session: Session = joined()[NAMES[0]]
    assert session.seconds_in_masks == 0
    masks: Masks = session
    masks.hide(masked(), np.zeros(1000, dtype=np.uint64))

    assert session.seconds_in_masks > 0


def test_a_session_masks_nothing_in_a_forked_process(
    in_a_fork: Callable[[Callable[[], object]], str],
) -> None:
    session = joined()["site-0"]
    elements = np.zeros(10, dtype=np.uint64)

    def hide() -> object:
        try:
            return session.hide(masked(), elements)
        except SessionError as error:
            return error, elements.any()

    answer = in_a_fork(hide)
    assert "SessionError" in answer
    assert "must not cross a fork" in answer
    assert "False" in answer
    # Nor was the parent's place used up.
    assert session.hide(masked(), elements)


def test_a_session_is_not_joined_in_a_forked_process(
    in_a_fork: Callable[[Callable[[], object]], str],
) -> None:
    keys = [key_of(name) for name in NAMES]
    offers = [key.offer for key in keys]

    answer = in_a_fork(lambda: Session.join(keys[0], offers, roster=ROSTER))
    assert "SessionError" in answer
    assert "must not cross a fork" in answer
    Session.join(keys[0], offers, roster=ROSTER)


def test_a_session_shows_no_secret_and_cannot_be_copied() -> None:
    session = joined()[NAMES[0]]

    assert repr(session) == "<Session 1 of 5 sites, at site-0>"
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            take(session)
