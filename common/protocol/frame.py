"""One binary frame for every transport: a JSON body and named raw arrays, bounded and validated.

Layout: the magic ``FWD2``, the header's length (4 bytes, little endian), the header (canonical
JSON with the body and each array's name, dtype and shape), zeros up to a multiple of 8 bytes, then
the arrays' bytes in that order (C order, little endian). Nothing is pickled, every size is checked
before memory is taken, and one content has one encoding, so a frame's SHA-256 names it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.common.errors import FedwardError

MAGIC = b"FWD2"
MAX_HEADER_BYTES = 16 * 2**20
"""Holds the offers, or the roster and the ledgers' heads, of all sites of the largest roster."""
MAX_BRACKETS = 2**16
"""Objects and lists in a header, counted by their opening brackets, those within strings too."""
MAX_COMMAS = 2**18
"""So are values: each can take many times its bytes in memory. The first sum of a session with
10,000 sites has 10,000 brackets and 80,000 commas."""
MAX_ARRAY_BYTES = 2**30
MAX_ARRAYS = 16
MAX_DIMENSIONS = 4
DTYPES: Mapping[str, np.dtype[Any]] = {
    "float64": np.dtype("<f8"),
    "uint64": np.dtype("<u8"),
    "int64": np.dtype("<i8"),
}
_ITEM_BYTES = 8


class FrameError(FedwardError):
    """Bytes that are not a well-formed frame, or content that may not be framed."""


def encode_frame(body: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Frame ``body`` (JSON values only) and ``arrays``; deterministic.

    Raises:
        FrameError: as :func:`encode_frame_parts`.
    """
    return b"".join(encode_frame_parts(body, arrays))


def encode_frame_parts(
    body: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> list[bytes | memoryview]:
    """The frame's bytes in parts, in order; those of the arrays are views where they can be.

    Raises:
        FrameError: what :func:`decode_frame` would refuse: an array's name, dtype or size outside
            the bounds, NaN or infinity, a body that is not JSON.
    """
    declared = []
    parts: list[bytes | memoryview] = []
    for name, array in sorted(arrays.items()):
        item = {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        _, dtype, _ = _declaration(item)
        _refuse_non_finite(name, array)
        declared.append(item)
        flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
        parts.append(flat.view(np.uint8).data)
    if len(declared) > MAX_ARRAYS:
        raise FrameError(f"{len(declared)} arrays; a frame holds at most {MAX_ARRAYS}")
    header = _canonical({"arrays": declared, "body": dict(body)})
    if len(header) > MAX_HEADER_BYTES:
        raise FrameError(f"the header takes {len(header)} bytes; at most {MAX_HEADER_BYTES}")
    _refuse_many_values(header)
    start = MAGIC + len(header).to_bytes(4, "little") + header
    return [start + _padding(len(start)), *parts]


def decode_frame(frame: bytes | memoryview) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read back body and (read-only) arrays, which are views of ``frame``.

    Raises:
        FrameError: anything but the exact encoding: wrong magic, sizes out of bounds, unknown
            dtype, missing or surplus bytes, NaN or infinity, a header in another spelling.
    """
    if len(frame) < 8 or frame[:4] != MAGIC:
        raise FrameError("not a fedward frame: the magic is missing")
    size = int.from_bytes(frame[4:8], "little")
    if size > MAX_HEADER_BYTES or 8 + size > len(frame):
        raise FrameError(f"the header declares {size} bytes; the frame does not hold them")
    spelled = bytes(frame[8 : 8 + size])
    _refuse_many_values(spelled)
    try:
        header = json.loads(spelled)
    except (ValueError, RecursionError) as error:
        raise FrameError("the header is not JSON") from error
    if not isinstance(header, dict) or set(header) != {"arrays", "body"}:
        raise FrameError("the header must hold exactly 'arrays' and 'body'")
    if _canonical(header) != spelled:
        raise FrameError("the header is not canonical JSON")
    body, declared = header["body"], header["arrays"]
    if not isinstance(body, dict) or not isinstance(declared, list) or len(declared) > MAX_ARRAYS:
        raise FrameError(f"the body must be an object and arrays a list of at most {MAX_ARRAYS}")
    arrays: dict[str, NDArray[Any]] = {}
    position = 8 + size
    padding = _padding(position)
    if frame[position : position + len(padding)] != padding:
        raise FrameError("the header is not followed by zeros up to a multiple of 8 bytes")
    position += len(padding)
    for item in declared:
        name, dtype, shape = _declaration(item)
        if name in arrays:
            raise FrameError(f"array {name!r} is declared twice")
        if name < max(arrays, default=""):
            raise FrameError("arrays must be declared in the order of their names")
        count = math.prod(shape)
        taken = count * dtype.itemsize
        if position + taken > len(frame):
            raise FrameError(f"array {name!r} declares {taken} bytes; the frame does not hold them")
        array = np.frombuffer(frame, dtype=dtype, count=count, offset=position).reshape(shape)
        _refuse_non_finite(name, array)
        arrays[name] = array
        position += taken
    if position != len(frame):
        raise FrameError(f"{len(frame) - position} bytes follow the last array")
    return body, arrays


def _refuse_many_values(header: bytes) -> None:
    if header.count(b"{") + header.count(b"[") > MAX_BRACKETS or header.count(b",") > MAX_COMMAS:
        raise FrameError(
            f"the header holds too many values: over {MAX_BRACKETS} brackets or {MAX_COMMAS} commas"
        )


def _padding(position: int) -> bytes:
    """Zeros after which arrays lie on whole words, where adding them up is faster."""
    return bytes(-position % _ITEM_BYTES)


def _canonical(header: Mapping[str, Any]) -> bytes:
    """The one spelling of a header."""
    try:
        return json.dumps(
            header, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError("the header holds what JSON cannot: only finite values go in") from error


def _declaration(item: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    if not isinstance(item, dict) or set(item) != {"name", "dtype", "shape"}:
        raise FrameError("an array is declared by exactly name, dtype and shape")
    name, dtype, shape = item["name"], item["dtype"], item["shape"]
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 64:
        raise FrameError("an array's name must be an identifier of at most 64 letters")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FrameError(f"array {name!r} has an unknown dtype; allowed: {sorted(DTYPES)}")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(extent) is int and 0 <= extent <= MAX_ARRAY_BYTES for extent in shape)
    ):
        raise FrameError(f"array {name!r} has a malformed shape")
    # An extent of 0 must not excuse the others, which NumPy multiplies as well.
    if math.prod(max(extent, 1) for extent in shape) * DTYPES[dtype].itemsize > MAX_ARRAY_BYTES:
        raise FrameError(f"array {name!r} is declared larger than {MAX_ARRAY_BYTES} bytes")
    return name, DTYPES[dtype], tuple(shape)


def _refuse_non_finite(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FrameError(f"array {name!r} holds NaN or infinity")
