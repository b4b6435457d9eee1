from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.simulations.report import numbers
from fedward.simulations.results import Interval


@given(st.floats(1e-4, 1e6))
def test_epsilon_is_never_shown_smaller_than_it_is(value: float) -> None:
    shown = float(numbers.epsilon(value))
    assert shown >= value - 1e-9
    assert shown - value <= (0.001 if value < 0.1 else 0.01 if value < 100 else 1) + 1e-9


@given(st.floats(0, 1))
def test_a_bound_in_per_cent_is_never_shown_smaller_than_it_is(share: float) -> None:
    shown = float(numbers.percent_at_most(share).removesuffix(" %"))
    assert 100 * share - 1e-7 <= shown <= 100
    assert shown - 100 * share <= 0.1 + 1e-7


@given(st.floats(1, 1e300))
def test_a_factor_is_never_shown_smaller_than_it_is(value: float) -> None:
    shown = numbers.factor_at_most(value)
    number = 10.0 ** int(shown.removeprefix("10^")) if "^" in shown else float(shown)
    assert number >= value * (1 - 1e-9)


def test_what_a_reader_sees() -> None:
    assert numbers.epsilon(0.9996) == "1.00"
    assert numbers.epsilon(1.0001) == "1.01"
    assert numbers.epsilon(1.0000000000000002) == "1.00"
    assert numbers.epsilon(None) == "-"
    assert numbers.epsilon_name(8.0) == "8"
    assert numbers.percent_at_most(0.9996646) == "99.97 %"
    assert numbers.percent_at_most(0.99999999) == "100 %"
    assert numbers.percent_at_most(0.5) == "50.0 %"
    assert numbers.factor_at_most(math.exp(20)) == "10^9"
    assert numbers.one_in(1e-5) == "1 in 100,000"
    assert numbers.decimals(None) == "-"
    assert numbers.percent(0.1234, 1) == "12.3 %"
    assert numbers.percent(None) == "-"
    assert [numbers.seconds(value) for value in (1.234, 12.34, 123.4, None)] == [
        "1.23",
        "12.3",
        "123",
        "-",
    ]


def test_an_interval_shows_its_half_width_only_when_it_has_one() -> None:
    assert numbers.plus_minus(Interval(mean=0.9621, low=0.95, high=0.9742)) == "0.962 ± 0.012"
    assert numbers.plus_minus(Interval(mean=0.9621, low=None, high=None)) == "0.962"
    assert numbers.plus_minus(None) == "-"
    assert numbers.half_width(Interval(mean=0.5, low=0.4, high=0.6)) == pytest.approx(0.1)


def test_bytes_have_a_unit_that_fits() -> None:
    values = (0, 999, 1000, 1234, 99_900, 123_456, 8_000_064, 2.5e9)
    assert [numbers.byte_count(value) for value in values] == [
        "0 B", "999 B", "1.0 kB", "1.2 kB", "99.9 kB", "123 kB", "8.0 MB", "2.5 GB",
    ]  # fmt: skip
    assert numbers.byte_count(None) == "-"


def test_short_times_keep_their_digits() -> None:
    assert [numbers.milliseconds(value) for value in (0.0, 0.00123, 0.0456, 0.789, None)] == [
        "0.00 ms", "1.23 ms", "45.6 ms", "789 ms", "-",
    ]  # fmt: skip


def test_means_of_whole_numbers() -> None:
    assert [numbers.mean_count(value) for value in (3.0, 3.25, 12_345.0)] == ["3", "3.2", "12,345"]


def test_an_interval_has_both_ends_or_none() -> None:
    assert numbers.between(0.5, 0.25 + 0.5) == "0.500 to 0.750"
    assert numbers.between(3.4, 8.6, 0) == "3 to 9"
    assert numbers.between(None, 1.0) == "-"
