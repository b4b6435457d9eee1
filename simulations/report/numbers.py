"""Numbers as a reader sees them; an upper bound is rounded up, never down."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

from fedward.simulations.results import Interval

UNDEFINED = "-"


def decimals(value: float | None, digits: int = 3) -> str:
    """Round to ``digits`` decimals; "-" for None."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def half_width(interval: Interval | None) -> float | None:
    """Half of the confidence interval; None with one seed."""
    if interval is None or interval.high is None:
        return None
    return interval.high - interval.mean


def plus_minus(interval: Interval | None, digits: int = 3) -> str:
    """Mean and half-width, as in "0.962 ± 0.011"; the mean alone with one seed."""
    if interval is None:
        return UNDEFINED
    half = half_width(interval)
    mean = decimals(interval.mean, digits)
    return mean if half is None else f"{mean} ± {decimals(half, digits)}"


def epsilon(value: float | None) -> str:
    """At least two significant digits, rounded up: a smaller epsilon would promise too much."""
    if value is None:
        return UNDEFINED
    digits = 3 if value < 0.1 else 2 if value < 100 else 0
    return str(_rounded(value, digits, ROUND_CEILING))


def epsilon_name(value: float) -> str:
    """A planned epsilon as it was asked for, such as "0.5" or "8"."""
    return f"{value:g}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share as per cent."""
    return UNDEFINED if share is None else f"{100 * share:.{digits}f} %"


def percent_at_most(share: float) -> str:
    """A bound on a share as per cent, rounded up; a second decimal where one would read as 100."""
    one, two = (_rounded(100 * share, digits, ROUND_CEILING) for digits in (1, 2))
    return f"{one if one < 100 else two if two < 100 else 100} %"


def factor_at_most(value: float) -> str:
    """A factor, rounded up to two significant digits; in powers of ten when huge."""
    if value >= 1e4:
        return f"10^{math.ceil(math.log10(value))}"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return str(_rounded(value, digits, ROUND_CEILING))


def one_in(delta: float) -> str:
    """A small probability as "1 in 100,000"; rounded so that it is not understated."""
    return f"1 in {math.floor(1 / delta + 1e-6):,}"


def seconds(value: float | None) -> str:
    """A duration with two or three digits."""
    if value is None:
        return UNDEFINED
    return decimals(value, 2 if value < 10 else 1 if value < 100 else 0)


def byte_count(value: float | None) -> str:
    """A number of bytes in the largest decimal unit that leaves it at 1 or more."""
    if value is None:
        return UNDEFINED
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.{1 if value < 100 * size else 0}f} {unit}"
    return f"{value:.0f} B"


def milliseconds(value: float | None) -> str:
    """A short duration, given in seconds."""
    if value is None:
        return UNDEFINED
    return f"{1e3 * value:.{2 if value < 0.01 else 1 if value < 0.1 else 0}f} ms"


def mean_count(value: float) -> str:
    """A mean of whole numbers: whole where it is, else with one decimal."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def between(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval as "0.91 to 0.97"."""
    if low is None or high is None:
        return UNDEFINED
    return f"{decimals(low, digits)} to {decimals(high, digits)}"


def _rounded(value: float, digits: int, rounding: str) -> Decimal:
    # First to nine digits, lest binary noise such as 1.0000000000000002 round up to 1.01.
    exact = Decimal(value).quantize(Decimal(1).scaleb(-9), rounding=ROUND_HALF_EVEN)
    return exact.quantize(Decimal(1).scaleb(-digits), rounding=rounding)
