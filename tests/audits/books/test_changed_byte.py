"""The byte that was changed, and what stood there."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.audits.books.changed_byte import changed_byte, entry_bytes, field_at

ENTRY = {"a": 1.5, "bc": 'text, "quoted" and \u00e4', "d": {"e": [1, 2]}}
BODY = json.dumps(ENTRY, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
LINE = b'{"entry":' + BODY + b',"signature":"' + 128 * b"0" + b'"}'
DIGEST = hashlib.sha256(BODY).hexdigest()


def test_the_entry_of_a_line_is_cut_out() -> None:
    assert entry_bytes(LINE) == BODY


@settings(max_examples=50)
@given(position=st.integers(0, len(BODY) - 1), byte=st.integers(0, 255))
def test_every_byte_is_put_back(position: int, byte: int) -> None:
    line = bytearray(LINE)
    at = len(b'{"entry":') + position
    line[at] = byte

    found = changed_byte(bytes(line), digest=DIGEST)

    if line == LINE:
        assert found is None
    else:
        assert found is not None
        assert (found.column, found.is_now, found.was) == (at + 1, byte, LINE[at])


def test_two_changed_bytes_are_not_mistaken_for_one() -> None:
    line = bytearray(LINE)
    line[12], line[20] = 0x21, 0x21

    assert changed_byte(bytes(line), digest=DIGEST) is None


def test_a_byte_belongs_to_the_key_whose_text_it_is_in() -> None:
    assert field_at(BODY, BODY.index(b"1.5")) == "a"
    assert field_at(BODY, BODY.index(b'"bc"')) == "bc"
    assert field_at(BODY, BODY.index(b"quoted")) == "bc"
    assert field_at(BODY, BODY.index(b"[1,2]")) == "d"
