from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.common.secure_sum.keystream import add_keystreams

KEYS = [bytes([number]) * 32 for number in range(5)]
PIECE = 2**14


def keystream(key: bytes, length: int) -> NDArray[np.uint64]:
    """The whole of it at once."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16)))
    return np.frombuffer(cipher.encryptor().update(bytes(8 * length)), dtype="<u8")


@pytest.mark.parametrize("length", [1, 2, 3, 1000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 40_001])
def test_pieces_make_up_the_whole_keystream(length: int) -> None:
    elements = np.arange(length, dtype=np.uint64)
    add_keystreams(elements, added=KEYS[:2], subtracted=KEYS[2:3])

    expected = np.arange(length, dtype=np.uint64) + keystream(KEYS[0], length)
    expected += keystream(KEYS[1], length)
    expected -= keystream(KEYS[2], length)
    assert np.array_equal(elements, expected)


def test_the_keystream_is_that_of_the_standard() -> None:
    # AES-256 of a block of zeros under a key of zeros.
    elements = np.zeros(2, dtype=np.uint64)
    add_keystreams(elements, added=[bytes(32)], subtracted=[])

    assert elements.astype("<u8").tobytes().hex() == "dc95c078a2408989ad48a21492842087"


@given(
    st.lists(st.sampled_from(KEYS), max_size=4),
    st.lists(st.sampled_from(KEYS), max_size=4),
    st.integers(1, 50),
)
def test_what_is_added_can_be_taken_off(
    added: list[bytes], subtracted: list[bytes], length: int
) -> None:
    elements = np.arange(length, dtype=np.uint64)
    add_keystreams(elements, added=added, subtracted=subtracted)
    add_keystreams(elements, added=subtracted, subtracted=added)

    assert np.array_equal(elements, np.arange(length, dtype=np.uint64))


def read_only() -> NDArray[np.uint64]:
    elements = np.zeros(4, dtype=np.uint64)
    elements.flags.writeable = False
    return elements


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(4),
        np.zeros(4, dtype=np.int64),
        np.zeros(4, dtype=">u8"),
        np.zeros((2, 2), dtype=np.uint64),
        np.zeros((), dtype=np.uint64),
        np.zeros(0, dtype=np.uint64),
        np.zeros(8, dtype=np.uint64)[::2],
        read_only(),
    ],
    ids=["float", "signed", "big-endian", "matrix", "scalar", "empty", "strided", "read-only"],
)
def test_other_elements_are_refused(wrong: NDArray[Any]) -> None:
    before = wrong.copy()
    with pytest.raises(ValueError, match="ring elements"):
        add_keystreams(wrong, added=KEYS, subtracted=[])

    assert np.array_equal(wrong, before)


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        add_keystreams(np.zeros(4, dtype=np.uint64), added=[b"short"], subtracted=[])
