from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.errors import FedwardError
from fedward.common.secure_sum.signatures import SecureSumError, SiteIdentity, verify

# RFC 8032, section 7.1, test 1.
PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
IDENTITY = SiteIdentity.from_private_bytes(PRIVATE)


@given(st.binary(max_size=100))
def test_what_is_signed_is_verified(message: bytes) -> None:
    signature = IDENTITY.sign("answer", message)

    assert len(signature) == 64
    assert verify(PUBLIC, purpose="answer", message=message, signature=signature)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_changed_byte_is_not_verified(message: bytes, data: st.DataObject) -> None:
    signature = IDENTITY.sign("answer", message)
    flip = data.draw(st.integers(1, 255))

    def changed(text: bytes) -> bytes:
        place = data.draw(st.integers(0, len(text) - 1))
        return text[:place] + bytes([text[place] ^ flip]) + text[place + 1 :]

    assert not verify(PUBLIC, purpose="answer", message=changed(message), signature=signature)
    assert not verify(PUBLIC, purpose="answer", message=message, signature=changed(signature))
    assert not verify(changed(PUBLIC), purpose="answer", message=message, signature=signature)


def test_a_signature_serves_one_purpose() -> None:
    signature = IDENTITY.sign("answer", b"message")

    assert not verify(PUBLIC, purpose="roster", message=b"message", signature=signature)
    # Nor does a message that begins like the end of a purpose.
    assert not verify(PUBLIC, purpose="answe", message=b"r/1\0message", signature=signature)


def test_another_identity_did_not_sign_it() -> None:
    other = SiteIdentity.generate()
    signature = other.sign("answer", b"message")

    assert verify(other.public_key, purpose="answer", message=b"message", signature=signature)
    assert not verify(PUBLIC, purpose="answer", message=b"message", signature=signature)


def test_the_signed_bytes_are_pinned() -> None:
    signature = IDENTITY.sign("session-offer", b"message")

    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(
        signature, b"fedward/session-offer/1\0message"
    )


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_of_another_size_verifies_nothing(size: int) -> None:
    signature = IDENTITY.sign("answer", b"")

    assert not verify(bytes(size), purpose="answer", message=b"", signature=signature)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_size_is_none(size: int) -> None:
    assert not verify(PUBLIC, purpose="answer", message=b"", signature=bytes(size))


@pytest.mark.parametrize("purpose", ["", "Answer", "a/b", "a\0", "a b", "ä", "-a", "a" * 33, "a\n"])
def test_a_purpose_is_a_word(purpose: str) -> None:
    with pytest.raises(ValueError, match="purpose"):
        IDENTITY.sign(purpose, b"")
    with pytest.raises(ValueError, match="purpose"):
        verify(PUBLIC, purpose=purpose, message=b"", signature=bytes(64))


def test_an_identity_comes_back_from_its_private_bytes() -> None:
    assert IDENTITY.public_key == PUBLIC
    assert IDENTITY.private_bytes() == PRIVATE
    made = SiteIdentity.generate()
    assert SiteIdentity.from_private_bytes(made.private_bytes()).public_key == made.public_key
    assert made.public_key != SiteIdentity.generate().public_key


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_other_sizes_of_private_bytes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 private bytes"):
        SiteIdentity.from_private_bytes(bytes(size))


def test_an_identity_shows_no_secret_and_cannot_be_copied() -> None:
    assert PUBLIC.hex() in repr(IDENTITY)
    assert PRIVATE.hex() not in f"{IDENTITY!r}{IDENTITY}"
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            take(IDENTITY)


def test_the_base_error_is_one_of_ours() -> None:
    assert issubclass(SecureSumError, FedwardError)
