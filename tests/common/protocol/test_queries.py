from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    GradientSumQuery,
    IdentifyQuery,
    LocalUpdateQuery,
    MomentsQuery,
    Query,
    decode_query,
    encode_query,
    frame_digest,
)

DIGEST = "0123456789abcdef" * 4
IDENTIFY: dict[str, Any] = {
    "protocol": 1,
    "kind": "identify",
    "run_id": "run",
    "study_digest": DIGEST,
}
SUM: dict[str, Any] = IDENTIFY | {
    "kind": "moments",
    "roster": ["a", "b"],
    "round": 0,
    "attempt": 1,
}
MODEL = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}
GRADIENT: dict[str, Any] = SUM | {"kind": "gradient_sum"}


def queries() -> st.SearchStrategy[Query]:
    names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
    whole = st.fixed_dictionaries(
        {
            "run_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}", fullmatch=True),
            "study_digest": st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        }
    )
    place = st.fixed_dictionaries(
        {
            "roster": st.sets(names, min_size=1, max_size=5).map(
                lambda found: tuple(sorted(found))
            ),
            "round": st.integers(0, 10**6),
            "attempt": st.integers(1, 1000),
        }
    )
    return st.one_of(
        whole.map(lambda fields: IdentifyQuery(**fields)),
        *(
            st.tuples(whole, place).map(lambda parts, kind=kind: kind(**(parts[0] | parts[1])))
            for kind in (MomentsQuery, GradientSumQuery, LocalUpdateQuery)
        ),
    )


def arrays_for(query: Query) -> dict[str, NDArray[np.float64]]:
    return {name: MODEL[name] for name in ARRAYS_OF[query.kind]}


@given(queries())
def test_every_query_comes_back(query: Query) -> None:
    found, arrays = decode_query(encode_query(query, arrays_for(query)))

    assert found == query
    assert type(found) is type(query)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in arrays_for(query).items()
    }


@given(queries())
def test_the_same_query_has_the_same_digest_and_another_another(query: Query) -> None:
    frame = encode_query(query, arrays_for(query))

    assert frame_digest(frame) == frame_digest(encode_query(query, arrays_for(query)))
    other = query.model_copy(update={"study_digest": query.study_digest[::-1]})
    if other != query:
        assert frame_digest(encode_query(other, arrays_for(other))) != frame_digest(frame)


@pytest.mark.parametrize(
    "kind", ["", "Moments", "gradient", "raw_update", "predict", None, 1, ["moments"]], ids=repr
)
def test_an_unknown_kind_is_refused(kind: Any) -> None:
    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(SUM | {"kind": kind}, {}))


@pytest.mark.parametrize("field", [*SUM])
def test_a_missing_field_is_refused_unless_it_is_the_fixed_protocol(field: str) -> None:
    body = {name: value for name, value in SUM.items() if name != field}

    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(body, {}))


@pytest.mark.parametrize("extra", ["sigma", "clip", "sampling_rate", "epsilon", "x" * 1000])
def test_an_unknown_field_is_refused(extra: str) -> None:
    # A query must have no room for a noise level.
    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(SUM | {extra: 1.0}, {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("protocol", 2),
        ("protocol", 0),
        ("protocol", "1"),
        ("protocol", True),
        ("protocol", 1.0),
        ("run_id", ""),
        ("run_id", 1),
        ("run_id", None),
        ("run_id", "run\n"),
        ("run_id", "-run"),
        ("run_id", "r n"),
        ("run_id", "a" * 201),
        ("study_digest", DIGEST[:-1]),
        ("study_digest", DIGEST.upper()),
        ("study_digest", DIGEST + "\n"),
        ("roster", []),
        ("roster", "ab"),
        ("roster", {"a": 1}),
        ("roster", [1, 2]),
        ("roster", ["a", None]),
        ("roster", ["a b"]),
        ("roster", ["a\n"]),
        ("roster", [""]),
        ("roster", ["a" * 65]),
        ("roster", ["../a"]),
        ("roster", ["ä"]),
        ("round", -1),
        ("round", 10**6 + 1),
        ("round", "1"),
        ("round", 1.0),
        ("round", True),
        ("round", None),
        ("attempt", 0),
        ("attempt", 1001),
        ("attempt", "1"),
        ("attempt", False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_wrong_type_or_value_is_refused(field: str, value: Any) -> None:
    with pytest.raises(FrameError, match=f"malformed query.*{field}"):
        decode_query(encode_frame(SUM | {field: value}, {}))


@pytest.mark.parametrize("roster", [["b", "a"], ["a", "a"], ["a", "b", "a"], ["b", "B"]])
def test_a_roster_that_is_unsorted_or_repeats_a_site_is_refused(roster: list[str]) -> None:
    # One set of sites must have one digest, and a site must count once for the minimum.
    with pytest.raises(FrameError, match="sorted"):
        decode_query(encode_frame(SUM | {"roster": roster}, {}))


def test_a_roster_beyond_the_limit_is_refused() -> None:
    roster = [f"s{number:05}" for number in range(10_001)]

    with pytest.raises(FrameError, match="roster"):
        decode_query(encode_frame(SUM | {"roster": roster}, {}))
    decode_query(encode_frame(SUM | {"roster": roster[1:]}, {}))


@pytest.mark.parametrize(
    ("body", "arrays"),
    [
        (IDENTIFY, {"parameters": np.zeros(4)}),
        (SUM, {"parameters": np.zeros(4)}),
        (SUM, MODEL),
        (GRADIENT, {}),
        (GRADIENT, {"parameters": np.zeros(4)}),
        (GRADIENT, MODEL | {"more": np.zeros(1)}),
        (GRADIENT, MODEL | {"parameters": np.zeros((2, 2))}),
        (GRADIENT, MODEL | {"parameters": np.array(1.0)}),
        (GRADIENT, MODEL | {"parameters": np.zeros(4, dtype=np.int64)}),
        (GRADIENT, MODEL | {"scale": np.ones(3, dtype=np.uint64)}),
    ],
)
def test_other_arrays_than_the_kind_carries_are_refused(
    body: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    with pytest.raises(FrameError, match="array"):
        decode_query(encode_frame(body, arrays))


def test_a_query_is_not_encoded_with_other_arrays() -> None:
    query = MomentsQuery(run_id="run", study_digest=DIGEST, roster=("a", "b"), round=0, attempt=1)

    with pytest.raises(FrameError, match="exactly the arrays"):
        encode_query(query, MODEL)


@given(st.binary(max_size=64))
def test_malformed_bytes_raise_frame_error(noise: bytes) -> None:
    with pytest.raises(FrameError):
        decode_query(noise)


def test_a_hostile_kind_does_not_break_the_error() -> None:
    with pytest.raises(FrameError) as caught:
        decode_query(encode_frame(IDENTIFY | {"kind": "x" * 10**5}, {}))

    str(caught.value).encode()


def test_an_encoded_query_holds_no_more_than_the_public_fields() -> None:
    query = GradientSumQuery(
        run_id="run", study_digest=DIGEST, roster=("a", "b"), round=3, attempt=1
    )
    body, arrays = decode_frame(encode_query(query, MODEL))

    assert set(body) == {
        "protocol",
        "kind",
        "run_id",
        "study_digest",
        "roster",
        "round",
        "attempt",
    }
    assert set(arrays) == {"parameters", "center", "scale"}
