"""When two recorded values are the same one: "3", "3.0" and " 3" are."""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
"""A finite decimal number in ASCII digits; no "nan", no "inf", no grouping, no decimal comma."""

_EXACT = Context(prec=1000)


def same_value_key(text: str) -> str:
    """A key that is equal for equal values: blanks at the ends are cut, numbers go by value.

    Numbers are compared exactly, so that codes of 18 digits do not run into one another.
    """
    stripped = text.strip()
    if NUMBER.fullmatch(stripped):
        try:
            number = Decimal(stripped).normalize(_EXACT)
        except InvalidOperation:
            return stripped
        return "0" if number.is_zero() else str(number)
    return stripped
