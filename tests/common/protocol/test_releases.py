from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedward.common.ledger.heads import LedgerHead
from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame
from fedward.common.protocol.releases import (
    ExecutedNoise,
    Refusal,
    RefusalReason,
    SessionClosed,
    SessionOpened,
    SumRelease,
    decode_answer,
    encode_answer,
    encode_answer_parts,
)
from fedward.common.secure_sum.session import SessionOffer

DIGEST = "0123456789abcdef" * 4
NOISE = ExecutedNoise(noise_multiplier=2.0, share_multiplier=1.0, sampling_rate=0.5, count=3)
RELEASE = SumRelease(
    site="site-0",
    run_id="run",
    study_digest=DIGEST,
    query_digest=DIGEST,
    round=1,
    attempt=1,
    executed=NOISE,
    masked=False,
    scale_bits=24,
    ledger=LedgerHead(
        site="site-0", ledger_id="1" * 32, sequence=5, digest="8" * 64, signature="3" * 128
    ),
)
HEAD = LedgerHead(
    site="site-0", ledger_id="1" * 32, sequence=7, digest="2" * 64, signature="3" * 128
)
CLOSED = SessionClosed(site="site-0", query_digest=DIGEST, head=HEAD)
OPENED = SessionOpened(
    site="site-0",
    query_digest=DIGEST,
    offer=SessionOffer(
        site="site-0",
        run_id="run",
        study_digest=DIGEST,
        roster_digest=DIGEST,
        session=1,
        key="4" * 64,
        signature="6" * 128,
    ),
    head=HEAD,
)
TOTAL = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)


def body_of(release: SumRelease = RELEASE) -> dict[str, Any]:
    return decode_frame(encode_answer(release, TOTAL))[0]


@given(
    npst.arrays(np.uint64, st.integers(0, 40)),
    st.floats(1e-6, 1e6),
    st.integers(1, 10**6),
    st.booleans(),
)
def test_a_sum_comes_back(
    total: NDArray[np.uint64], multiplier: float, count: int, masked: bool
) -> None:
    executed = NOISE.model_copy(update={"noise_multiplier": multiplier, "count": count})
    release = RELEASE.model_copy(update={"executed": executed, "masked": masked})
    found, found_total = decode_answer(encode_answer(release, total))

    assert found == release
    assert found_total is not None
    assert found_total.tobytes() == total.tobytes()


def test_a_release_without_noise_says_so() -> None:
    bare = RELEASE.model_copy(update={"executed": None})

    assert decode_answer(encode_answer(bare, TOTAL))[0] == bare


def test_the_parts_are_the_answer() -> None:
    total = TOTAL.copy()
    parts = encode_answer_parts(RELEASE, total)

    assert b"".join(parts) == encode_answer(RELEASE, TOTAL)
    total[0] = 7
    assert bytes(parts[-1]) == total.tobytes()


def test_session_keys_heads_and_refusals_come_back() -> None:
    answers = [
        OPENED,
        CLOSED,
        CLOSED.model_copy(update={"head": None}),
        *(
            Refusal(site="site-0", query_digest=DIGEST, reason=reason, message="Because.")
            for reason in RefusalReason
        ),
    ]

    for answer in answers:
        assert decode_answer(encode_answer(answer)) == (answer, None)


@pytest.mark.parametrize("clip_exponent", [-20, 0, 20])
def test_the_unit_of_any_clip_of_a_study_can_be_told(clip_exponent: int) -> None:
    # A study's clip lies between 1e-6 and 1e6; one of 2^k has 24 - k bits after the point.
    release = RELEASE.model_copy(update={"scale_bits": 24 - clip_exponent})

    assert decode_answer(encode_answer(release, TOTAL))[0] == release


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "gradient"),
        ("protocol", 1),
        ("protocol", True),
        ("site", "a b"),
        ("site", 1),
        ("run_id", ""),
        ("study_digest", "0"),
        ("query_digest", None),
        ("round", -1),
        ("round", True),
        ("attempt", 0),
        ("masked", 1),
        ("masked", "yes"),
        ("scale_bits", 63),
        ("scale_bits", -1),
        ("scale_bits", 24.0),
        ("executed", {}),
        ("executed", 1),
        ("ledger", {}),
        ("ledger", {"sequence": 5}),
        ("ledger", {"sequence": -1, "digest": "8" * 64}),
        ("more", 1),
    ],
)
def test_a_wrong_field_is_refused(field: str, value: Any) -> None:
    with pytest.raises(FrameError, match="malformed answer"):
        decode_answer(encode_frame(body_of() | {field: value}, {"total": TOTAL}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise_multiplier", 0.0),
        ("noise_multiplier", -1.0),
        ("share_multiplier", 0.0),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.5),
        ("count", 0),
        ("count", True),
        ("sigma", 1.0),
    ],
)
def test_noise_that_cannot_have_been_executed_is_refused(field: str, value: Any) -> None:
    executed = NOISE.model_dump() | {field: value}

    with pytest.raises(FrameError, match="malformed answer"):
        decode_answer(encode_frame(body_of() | {"executed": executed}, {"total": TOTAL}))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"sum": TOTAL},
        {"total": TOTAL, "more": TOTAL},
        {"total": TOTAL.view(np.int64)},
        {"total": np.zeros(4)},
        {"total": TOTAL.reshape(2, 2)},
        {"total": TOTAL[0].reshape(())},
    ],
    ids=[
        "none",
        "another name",
        "surplus",
        "signed",
        "float",
        "two dimensions",
        "no dimension",
    ],
)
def test_other_arrays_than_one_ring_vector_are_refused(arrays: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(FrameError, match="total"):
        decode_answer(encode_frame(body_of(), arrays))


@pytest.mark.parametrize(
    "change",
    [
        {"offer": None},
        {"offer": {}},
        {"offer": OPENED.offer.model_dump() | {"key": "0" * 63}},
        {"offer": OPENED.offer.model_dump() | {"more": 1}},
        {"query_digest": "0"},
        {"session": 1},
    ],
)
def test_a_malformed_session_key_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FrameError, match="malformed answer"):
        decode_answer(encode_frame(OPENED.model_dump(mode="json") | change, {}))


@pytest.mark.parametrize("answer", [OPENED, CLOSED], ids=["opened", "closed"])
@pytest.mark.parametrize(
    "head", [{}, 7, HEAD.model_dump() | {"sequence": -1}, HEAD.model_dump() | {"more": 1}]
)
def test_a_malformed_head_is_refused(answer: SessionOpened | SessionClosed, head: Any) -> None:
    with pytest.raises(FrameError, match="malformed answer"):
        decode_answer(encode_frame(answer.model_dump(mode="json") | {"head": head}, {}))


@pytest.mark.parametrize("answer", [OPENED, CLOSED], ids=["opened", "closed"])
def test_a_session_key_or_head_carries_no_array(answer: SessionOpened | SessionClosed) -> None:
    with pytest.raises(FrameError, match="total"):
        decode_answer(encode_frame(answer.model_dump(mode="json"), {"total": TOTAL}))
    with pytest.raises(FrameError, match="total"):
        encode_answer(answer, TOTAL)


def test_a_refusal_carries_no_array() -> None:
    refusal = Refusal(
        site="site-0", query_digest=DIGEST, reason=RefusalReason.PRIVACY, message="No."
    )

    with pytest.raises(FrameError, match="total"):
        decode_answer(encode_frame(refusal.model_dump(mode="json"), {"total": TOTAL}))
    with pytest.raises(FrameError, match="total"):
        encode_answer(refusal, TOTAL)
    with pytest.raises(FrameError, match="total"):
        encode_answer(RELEASE)


@pytest.mark.parametrize("reason", ["", "because", None, 1])
def test_an_unknown_reason_is_refused(reason: Any) -> None:
    body = {
        "kind": "refusal",
        "protocol": 3,
        "site": "site-0",
        "query_digest": DIGEST,
        "reason": reason,
        "message": "No.",
    }

    with pytest.raises(FrameError, match="malformed answer"):
        decode_answer(encode_frame(body, {}))
