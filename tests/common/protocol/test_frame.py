from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedward.common.protocol.frame import (
    MAGIC,
    MAX_ARRAY_BYTES,
    MAX_ARRAYS,
    MAX_BRACKETS,
    MAX_COMMAS,
    MAX_HEADER_BYTES,
    FrameError,
    decode_frame,
    encode_frame,
    encode_frame_parts,
)

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAYS = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True),
    st.one_of(
        npst.arrays(
            np.float64, SHAPES, elements=st.floats(allow_nan=False, allow_infinity=False, width=64)
        ),
        npst.arrays(np.uint64, SHAPES),
        npst.arrays(np.int64, SHAPES),
    ),
    max_size=4,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4)


def framed(header: Any, tail: bytes = b"") -> bytes:
    """A frame with this header, in the canonical form unless it is given as bytes."""
    if not isinstance(header, bytes):
        header = json.dumps(
            header, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    start = MAGIC + struct.pack("<I", len(header)) + header
    return start + bytes(-len(start) % 8) + tail


def declared(shape: Any, *, dtype: Any = "float64", name: Any = "a") -> dict[str, Any]:
    return {"arrays": [{"name": name, "dtype": dtype, "shape": shape}], "body": {}}


@given(BODIES, ARRAYS)
def test_what_is_framed_comes_back(body: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    found_body, found = decode_frame(encode_frame(body, arrays))

    assert found_body == body
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(BODIES, ARRAYS, st.randoms(use_true_random=False))
def test_equal_content_has_equal_bytes(
    body: dict[str, Any], arrays: dict[str, NDArray[Any]], random: Any
) -> None:
    names, keys = list(arrays), list(body)
    random.shuffle(names)
    random.shuffle(keys)

    shuffled = encode_frame({k: body[k] for k in keys}, {n: arrays[n] for n in names})

    assert shuffled == encode_frame(body, arrays)


def test_memory_order_and_byte_order_do_not_change_the_bytes() -> None:
    plain = np.arange(12, dtype=np.float64).reshape(3, 4)

    for same in (np.asfortranarray(plain), plain.astype(">f8"), plain[:, ::-1][:, ::-1]):
        assert encode_frame({}, {"a": same}) == encode_frame({}, {"a": plain})


@given(BODIES, ARRAYS)
def test_the_parts_are_the_frame(body: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    frame = encode_frame(body, arrays)

    assert b"".join(encode_frame_parts(body, arrays)) == frame
    assert decode_frame(memoryview(frame))[0] == body


def test_a_part_is_a_view_of_its_array() -> None:
    array = np.zeros(4, dtype=np.uint64)
    part = encode_frame_parts({}, {"a": array})[-1]
    array[0] = 7

    assert bytes(part) == array.tobytes()


@given(BODIES, ARRAYS)
def test_arrays_lie_on_whole_words(body: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    frame = encode_frame(body, arrays)
    start = len(frame) - sum(array.nbytes for array in arrays.values())
    header = 8 + int.from_bytes(frame[4:8], "little")

    assert start % 8 == 0
    assert 0 <= start - header < 8
    assert frame[header:start] == bytes(start - header)
    assert all(array.flags.aligned for array in decode_frame(frame)[1].values())


@pytest.mark.parametrize("length", range(8))
def test_any_other_padding_is_refused(length: int) -> None:
    # One content has one encoding: neither other bytes nor more or fewer of them.
    frame = framed({"arrays": [], "body": {"x": "a" * length}})
    end = 8 + int.from_bytes(frame[4:8], "little")
    padding = frame[end:]
    assert decode_frame(frame) == ({"x": "a" * length}, {})
    others = {bytes(size) for size in range(17)} | {b"\1" * len(padding), b" " * len(padding)}

    for other in others - {padding}:
        with pytest.raises(FrameError, match=r"zeros|follow the last array"):
            decode_frame(frame[:end] + other)


def test_decoded_arrays_are_read_only() -> None:
    _, arrays = decode_frame(encode_frame({}, {"a": np.zeros(3)}))

    with pytest.raises(ValueError, match="read-only"):
        arrays["a"][0] = 1


@given(BODIES, ARRAYS, st.data())
def test_a_frame_cut_short_is_refused(
    body: dict[str, Any], arrays: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    frame = encode_frame(body, arrays)
    size = data.draw(st.integers(0, len(frame) - 1))

    with pytest.raises(FrameError):
        decode_frame(frame[:size])


@given(BODIES, ARRAYS, st.binary(min_size=1, max_size=16))
def test_surplus_bytes_are_refused(
    body: dict[str, Any], arrays: dict[str, NDArray[Any]], surplus: bytes
) -> None:
    with pytest.raises(FrameError, match="follow the last array"):
        decode_frame(encode_frame(body, arrays) + surplus)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_frame_error(noise: bytes) -> None:
    for frame in (noise, MAGIC + noise, framed(noise)):
        with pytest.raises(FrameError):
            decode_frame(frame)


@settings(max_examples=200)
@given(BODIES, ARRAYS, st.data())
def test_a_changed_byte_is_refused_or_another_content(
    body: dict[str, Any], arrays: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    frame = bytearray(encode_frame(body, arrays))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_frame(bytes(frame))
    except FrameError:
        return
    # One content has one encoding: what was accepted encodes to exactly the bytes received.
    assert encode_frame(*found) == bytes(frame)


@pytest.mark.parametrize(
    "magic", [b"", b"FWD", b"FWD1", b"fwd2", b"\x93NUM"], ids=lambda magic: magic.decode("latin-1")
)
def test_a_wrong_magic_is_refused(magic: bytes) -> None:
    with pytest.raises(FrameError, match="magic"):
        decode_frame(magic + encode_frame({}, {})[4:])


@pytest.mark.parametrize("size", [3, MAX_HEADER_BYTES + 1, 2**32 - 1])
def test_a_header_longer_than_the_frame_is_refused(size: int) -> None:
    with pytest.raises(FrameError, match="header"):
        decode_frame(MAGIC + struct.pack("<I", size) + b"{}")


def test_a_header_over_the_limit_is_refused_even_if_it_is_there() -> None:
    frame = framed({"arrays": [], "body": {"x": "a" * MAX_HEADER_BYTES}})

    with pytest.raises(FrameError, match="header"):
        decode_frame(frame)
    with pytest.raises(FrameError, match="header"):
        encode_frame({"x": "a" * MAX_HEADER_BYTES}, {})


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b'{"arrays":[]}',
        b'{"body":{}}',
        b'{"arrays":[],"body":{},"more":1}',
        b'{"arrays":[],"body":[]}',
        b'{"arrays":[],"body":null}',
        b'{"arrays":{},"body":{}}',
        b'{"arrays":[1],"body":{}}',
        b'{"arrays":[{}],"body":{}}',
        b'{"arrays":[],"body":{"x":\xff}}',
        b'{"arrays":[],"body":{"x":' + b"9" * 5000 + b"}}",
    ],
    ids=lambda header: header[:30].decode("latin-1"),
)
def test_a_header_that_is_not_the_agreed_object_is_refused(header: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(framed(header))


@pytest.mark.parametrize(
    "header",
    [
        b'{"arrays":[], "body":{}}',
        b'{"body":{},"arrays":[]}',
        b'{"arrays":[],"body":{"b":1,"a":2}}',
        b'{"arrays":[],"body":{"a":1,"a":2}}',
        b'{"arrays":[],"body":{"a":NaN}}',
        b'{"arrays":[],"body":{"a":-Infinity}}',
        b'{"arrays":[],"body":{"a":1e400}}',
        b'{"arrays":[],"body":{"a":1.50}}',
        b'{"arrays":[],"body":{"a":"\\u0041"}}',
        b'{"arrays":[],"body":{"a":"\\ud800"}}',
        '{"arrays":[],"body":{}}'.encode("utf-16"),
        b'\xef\xbb\xbf{"arrays":[],"body":{}}',
    ],
    ids=lambda header: header[:40].decode("latin-1"),
)
def test_a_second_spelling_of_a_header_is_refused(header: bytes) -> None:
    # Otherwise a frame's digest would not name its content.
    with pytest.raises(FrameError):
        decode_frame(framed(header))


def test_deep_nesting_is_refused() -> None:
    depth = 100_000
    nested = b'{"a":' * depth + b"1" + b"}" * depth

    with pytest.raises(FrameError):
        decode_frame(framed(b'{"arrays":[],"body":' + nested + b"}"))


@pytest.mark.parametrize(
    "values",
    [b"[]," * (2 * 2**20), b"{}," * (2 * 2**20), b"[" * 2**22, b"1," * 2**21, b'"",' * 2**21],
    ids=lambda values: values[:3].decode(),
)
def test_a_header_of_too_many_values_is_refused_before_it_is_read(values: bytes) -> None:
    frame = framed(b'{"arrays":[],"body":{"x":[' + values[:-1] + b"]}}")
    assert 2**21 < len(frame) < MAX_HEADER_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="too many values"):
            decode_frame(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(frame)


def test_as_many_values_as_allowed_take_bounded_memory() -> None:
    # Two brackets are those of body and arrays, one that of the header, and one the list's.
    lists: dict[str, Any] = {"x": [[]] * (MAX_BRACKETS - 4)}
    # Keys of one body each: as costly as values get.
    numbers: dict[str, Any] = {f"{number:018}": 0.5 + number for number in range(MAX_COMMAS)}
    for body in (lists, numbers):
        frame = encode_frame(body, {})
        tracemalloc.start()
        try:
            assert decode_frame(frame) == (body, {})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 10 * MAX_HEADER_BYTES
    lists["x"].append([])
    numbers["one more"] = 1
    for body in (lists, numbers):
        with pytest.raises(FrameError, match="too many values"):
            encode_frame(body, {})
        with pytest.raises(FrameError, match="too many values"):
            decode_frame(framed({"arrays": [], "body": body}))


@pytest.mark.parametrize(
    "dtype", ["object", "O", "|O", "float32", ">f8", "<f8", "U8", "V8", "bool", "", None, 8, ["f8"]]
)
def test_a_dtype_outside_the_list_is_refused(dtype: Any) -> None:
    with pytest.raises(FrameError, match="dtype"):
        decode_frame(framed(declared([1], dtype=dtype), bytes(8)))


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.zeros(1, dtype=np.float32),
        np.zeros(1, dtype=bool),
        np.array(["a"]),
        np.zeros(1, dtype=[("a", "<f8")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_such_a_dtype_is_not_framed_either(array: NDArray[Any]) -> None:
    with pytest.raises(FrameError, match="dtype"):
        encode_frame({}, {"a": array})


@pytest.mark.parametrize(
    "shape",
    [[-1], [True], [1.0], ["1"], [None], 1, None, "1", {}, [[1]], [1, 1, 1, 1, 1], [2**31]],
    ids=str,
)
def test_a_malformed_shape_is_refused(shape: Any) -> None:
    with pytest.raises(FrameError, match="shape"):
        decode_frame(framed(declared(shape), bytes(8)))


@pytest.mark.parametrize(
    "shape", [[0, 2**30, 2**30, 2**30], [2**30, 2**30, 2**30, 0], [0, 2**30]], ids=str
)
def test_an_empty_array_of_absurd_extents_is_refused_or_read(shape: list[int]) -> None:
    frame = framed(declared(shape))
    try:
        _, arrays = decode_frame(frame)
    except FrameError:
        return
    assert arrays["a"].shape == tuple(shape)


@pytest.mark.parametrize(
    "name", ["", "a b", "1a", "a-b", "../a", "a" * 65, None, 1, ["a"]], ids=repr
)
def test_a_malformed_array_name_is_refused(name: Any) -> None:
    with pytest.raises(FrameError, match="name"):
        decode_frame(framed(declared([1], name=name), bytes(8)))
    if isinstance(name, str):
        with pytest.raises(FrameError, match="name"):
            encode_frame({}, {name: np.zeros(1)})


def test_an_array_named_twice_is_refused() -> None:
    one = {"name": "a", "dtype": "float64", "shape": [1]}

    with pytest.raises(FrameError, match="twice"):
        decode_frame(framed({"arrays": [one, one], "body": {}}, bytes(16)))


def test_arrays_in_another_order_are_refused() -> None:
    arrays = [{"name": name, "dtype": "float64", "shape": [1]} for name in "ba"]

    with pytest.raises(FrameError):
        decode_frame(framed({"arrays": arrays, "body": {}}, bytes(16)))


def test_an_unknown_key_of_an_array_is_refused() -> None:
    header = declared([1])
    header["arrays"][0]["order"] = "F"

    with pytest.raises(FrameError, match="exactly name, dtype and shape"):
        decode_frame(framed(header, bytes(8)))


def test_too_many_arrays_are_refused_on_both_sides() -> None:
    arrays = [
        {"name": f"a{number:02}", "dtype": "float64", "shape": [0]}
        for number in range(MAX_ARRAYS + 1)
    ]

    with pytest.raises(FrameError, match="at most"):
        decode_frame(framed({"arrays": arrays, "body": {}}))
    with pytest.raises(FrameError, match="at most"):
        encode_frame({}, {array["name"]: np.zeros(0) for array in arrays})


def test_more_dimensions_than_can_be_read_are_not_framed() -> None:
    with pytest.raises(FrameError, match="shape"):
        encode_frame({}, {"a": np.zeros((1, 1, 1, 1, 1))})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_on_both_sides(value: float) -> None:
    with pytest.raises(FrameError, match="NaN or infinity"):
        decode_frame(framed(declared([2]), struct.pack("<dd", 1.0, value)))
    with pytest.raises(FrameError, match="NaN or infinity"):
        encode_frame({}, {"a": np.array([1.0, value])})


@pytest.mark.parametrize(
    "body",
    [{"x": float("nan")}, {"x": float("inf")}, {"x": "\ud800"}, {"x": {1, 2}}, {"x": b"1"}],
    ids=repr,
)
def test_a_body_that_is_not_json_is_not_framed(body: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        encode_frame(body, {})


@pytest.mark.parametrize(
    "shape", [[10 * 2**30 // 8], [2**30], [2**27 + 1], [2**30, 2**30, 2**30, 2**30]], ids=str
)
def test_a_declared_size_is_checked_before_memory_is_taken(shape: list[int]) -> None:
    frame = framed(declared(shape), bytes(64))
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            decode_frame(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2**20 < MAX_ARRAY_BYTES


def test_reading_arrays_copies_nothing() -> None:
    frame = encode_frame({}, {"a": np.zeros(2**20, dtype=np.uint64)})
    tracemalloc.start()
    try:
        _, arrays = decode_frame(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert arrays["a"].size == 2**20
    assert peak < 2**20
