from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedward.common.protocol import sealed as module
from fedward.common.protocol.frame import FrameError, encode_frame
from fedward.common.protocol.releases import Refusal, RefusalReason, SumRelease, encode_answer
from fedward.common.protocol.sealed import (
    MAX_SEALED_BYTES,
    SealError,
    open_sealed,
    sealed_answer,
)
from fedward.common.secure_sum.signatures import SecureSumError, SiteIdentity, verify

DIGEST = "0123456789abcdef" * 4
SITE, OTHER = (SiteIdentity.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
RELEASE = SumRelease(
    site="site-0",
    run_id="run",
    study_digest=DIGEST,
    query_digest=DIGEST,
    round=1,
    attempt=1,
    executed=None,
    masked=True,
    scale_bits=24,
)
REFUSAL = Refusal(site="site-0", query_digest=DIGEST, reason=RefusalReason.PRIVACY, message="No.")
TOTAL = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)


@given(npst.arrays(np.uint64, st.integers(0, 40)))
def test_a_sealed_sum_comes_back(total: NDArray[np.uint64]) -> None:
    sealed, digest = sealed_answer(RELEASE, total, identity=SITE)
    opened = open_sealed(sealed)
    answer, found = opened.answer_of(SITE.public_key)

    assert answer == RELEASE
    assert found is not None
    assert found.tobytes() == total.tobytes()
    assert opened.digest == digest


def test_a_refusal_is_sealed_too() -> None:
    sealed, _ = sealed_answer(REFUSAL, identity=SITE)

    assert open_sealed(sealed).answer_of(SITE.public_key) == (REFUSAL, None)


def test_it_is_the_frame_and_a_signature_of_its_digest() -> None:
    sealed, digest = sealed_answer(RELEASE, TOTAL, identity=SITE)
    frame = encode_answer(RELEASE, TOTAL)

    assert sealed[:-64] == frame
    assert bytes(open_sealed(sealed).frame) == frame
    assert digest == hashlib.sha256(frame).hexdigest()
    assert verify(
        SITE.public_key,
        purpose="answer",
        message=hashlib.sha256(frame).digest(),
        signature=sealed[-64:],
    )


@given(st.data())
def test_a_changed_byte_breaks_the_seal(data: st.DataObject) -> None:
    changed = bytearray(sealed_answer(RELEASE, TOTAL, identity=SITE)[0])
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SealError, match="not signed with the site's key"):
        open_sealed(bytes(changed)).answer_of(SITE.public_key)


def test_another_sites_seal_is_refused() -> None:
    sealed, _ = sealed_answer(RELEASE, TOTAL, identity=OTHER)

    open_sealed(sealed).answer_of(OTHER.public_key)
    for key in (SITE.public_key, b"", bytes(32)):
        with pytest.raises(SecureSumError):
            open_sealed(sealed).answer_of(key)


def test_a_signature_for_another_purpose_is_no_seal() -> None:
    frame = encode_answer(RELEASE, TOTAL)
    digest = hashlib.sha256(frame).digest()

    for signature in (SITE.sign("roster", digest), SITE.sign("answer", frame), bytes(64)):
        with pytest.raises(SealError):
            open_sealed(frame + signature).answer_of(SITE.public_key)


@pytest.mark.parametrize(
    "frame", [b"x", b"garbage", encode_frame({}, {}), encode_frame({}, {"total": TOTAL})]
)
def test_what_is_no_answer_is_refused_though_it_is_signed(frame: bytes) -> None:
    signature = SITE.sign("answer", hashlib.sha256(frame).digest())

    with pytest.raises(FrameError):
        open_sealed(frame + signature).answer_of(SITE.public_key)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises((FrameError, SealError)):
        open_sealed(noise).answer_of(SITE.public_key)


@pytest.mark.parametrize("size", [0, 1, 63, 64])
def test_what_has_no_room_for_a_frame_is_refused(size: int) -> None:
    with pytest.raises(FrameError, match="not a sealed answer"):
        open_sealed(bytes(size))


def test_what_is_larger_than_any_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed, _ = sealed_answer(RELEASE, TOTAL, identity=SITE)
    assert MAX_SEALED_BYTES > 2**30
    monkeypatch.setattr(module, "MAX_SEALED_BYTES", len(sealed))
    open_sealed(sealed)

    with pytest.raises(FrameError, match="not a sealed answer"):
        open_sealed(sealed + b"x")


def test_a_sum_without_its_array_is_not_sealed() -> None:
    with pytest.raises(FrameError, match="total"):
        sealed_answer(RELEASE, identity=SITE)
    with pytest.raises(FrameError, match="total"):
        sealed_answer(REFUSAL, TOTAL, identity=SITE)


def test_sealing_copies_once_and_opening_never() -> None:
    total = np.zeros(2**20, dtype=np.uint64)
    tracemalloc.start()
    try:
        sealed, _ = sealed_answer(RELEASE, total, identity=SITE)
        sealing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        _, found = open_sealed(sealed).answer_of(SITE.public_key)
        opening = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    assert total.nbytes <= sealing < total.nbytes + 2**20
    assert opening < 2**20
    assert found is not None
    assert found.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
