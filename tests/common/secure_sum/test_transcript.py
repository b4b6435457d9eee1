from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.secure_sum.transcript import transcript

PARTS = st.lists(st.binary(max_size=12), max_size=5)


def test_the_encoding_is_pinned() -> None:
    # What is signed at one site is checked at another: the bytes are part of the protocol.
    assert transcript("ä", b"\0", 258) == (
        bytes(7) + b"\x02\xc3\xa4" + bytes(7) + b"\x01\0" + bytes(7) + b"\x08" + bytes(6) + b"\1\2"
    )


@given(PARTS, PARTS)
def test_two_lists_never_have_one_encoding(first: list[bytes], second: list[bytes]) -> None:
    assert (transcript(*first) == transcript(*second)) == (first == second)


@given(st.lists(st.binary(max_size=12), min_size=2, max_size=5), st.data())
def test_moving_a_boundary_changes_the_encoding(parts: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(parts)
    cut = data.draw(st.integers(0, len(joined)))
    moved = [joined[:cut], joined[cut:]]

    assert (transcript(*moved) == transcript(*parts)) == (moved == parts)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_beyond_its_eight_bytes_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        transcript(number)
