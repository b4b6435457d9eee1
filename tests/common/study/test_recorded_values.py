from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.study.recorded_values import NUMBER, same_value_key


@pytest.mark.parametrize(
    ("one", "other"),
    [("3", "3.0"), (" 3", "3 "), ("0", "-0.0"), ("1e2", "100"), (".5", "0.50"), ("+7", "7")],
)
def test_equal_values_have_equal_keys(one: str, other: str) -> None:
    assert same_value_key(one) == same_value_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3", "4"),
        ("a", "A"),
        ("", "0"),
        # Codes of 18 digits, which are one number in double precision.
        ("123456789012345678", "123456789012345679"),
        ("nan", "0"),
        ("1_0", "10"),
    ],
)
def test_different_values_have_different_keys(one: str, other: str) -> None:
    assert same_value_key(one) != same_value_key(other)


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1,5", "1 000", "0x10", "٣", "", "."])
def test_what_is_no_number(text: str) -> None:
    assert NUMBER.fullmatch(text) is None


@given(st.integers())
def test_integers_match_their_decimal_form(value: int) -> None:
    assert same_value_key(str(value)) == same_value_key(f"{value}.0")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_double_is_a_number(value: float) -> None:
    assert NUMBER.fullmatch(repr(value))
    assert same_value_key(repr(value)) == same_value_key(f" {value!r} ")


@given(st.text(max_size=30))
def test_any_text_has_a_key(text: str) -> None:
    assert same_value_key(same_value_key(text)) == same_value_key(text)
