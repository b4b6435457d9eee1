"""What stands in a table's cell: the rounded text, and the full number for machines."""

from __future__ import annotations

from markupsafe import Markup, escape

from fedward.simulations.report import numbers
from fedward.simulations.report.arms import full_label
from fedward.simulations.report.measured import WHOLE
from fedward.simulations.results import ArmResult, Figure, Interval


def number(value: float | None, digits: int = 3) -> Markup:
    """A number, rounded for people."""
    return _marked(value, numbers.decimals(value, digits))


def epsilon(value: float | None) -> Markup:
    """An epsilon, rounded up."""
    return _marked(value, numbers.epsilon(value))


def interval(value: Interval | None, digits: int = 3) -> Markup:
    """Mean and half-width."""
    mean = number(None if value is None else value.mean, digits)
    half = numbers.half_width(value)
    if half is None:
        return mean
    return mean + Markup(' <span class="half">± {}</span>').format(numbers.decimals(half, digits))


def figure(value: Figure | None, name: str) -> Markup:
    """An estimate with its interval, and below it the exact figure."""
    if value is None:
        return escape(numbers.UNDEFINED)
    digits = 0 if name in WHOLE else 3
    shown = number(value.value, digits)
    if value.low is not None and value.high is not None:
        shown += Markup(' <span class="half">{}</span>').format(
            numbers.between(value.low, value.high, digits)
        )
    exact = numbers.decimals(value.full_view, digits)
    return shown + Markup('<br><span class="half">exact {}</span>').format(exact)


def label(arm: ArmResult) -> str:
    """The arm's label with its planned epsilon (not every table has a column for it), unbroken."""
    return full_label(arm).replace("ε = ", "ε\u00a0=\u00a0")


def _marked(value: float | None, text: str) -> Markup:
    """The rounded text, with the full number for machines."""
    if value is None:
        return escape(text)
    return Markup('<data value="{}">{}</data>').format(repr(value), text)
