from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedward.audits.report.drawing import Drawing, Scale, tick_name

SPANS = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)


def test_words_cannot_leave_their_place() -> None:
    evil = '"><script>alert(1)</script>&'
    drawing = Drawing(name="evil", width=10, height=10)
    drawing.text(evil, (1, 1))
    picture = drawing.picture(title=evil, description=evil)
    root = ElementTree.fromstring(picture.svg)  # noqa: S314 - our own text
    assert [element.text for element in root] == [evil, evil, evil]
    assert "<script" not in picture.svg


def test_equal_drawings_are_equal_to_the_byte() -> None:
    def drawn() -> str:
        drawing = Drawing(name="one", width=100, height=50)
        drawing.line((0, 1 / 3), (2 / 3, 1e-9), style="grid")
        drawing.path([(0, 0), (1.23456, 7.0)], style="axis")
        drawing.mark((5, 5), style="spent", shape="dot")
        drawing.mark((5, 5), style="claim", shape="bar")
        return str(drawing.picture(title="t", description="d").svg)

    assert drawn() == drawn()
    assert not re.search(r"\de-", drawn())
    assert re.findall(r'points="([^"]*)"', drawn()) == ["0,0 1.23,7"]


@given(SPANS, SPANS, st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_scale_stays_within_its_ends_and_keeps_the_order(
    one: float, other: float, logarithmic: bool, value: float
) -> None:
    low, high = sorted((one, other))
    assume(high / low > 1.001)
    scale = Scale(low=low, high=high, start=200.0, end=10.0, logarithmic=logarithmic)
    assert 10.0 - 1e-9 <= scale(value) <= 200.0 + 1e-9
    assert scale(low) == pytest.approx(200.0)
    assert scale(high) == pytest.approx(10.0)
    assert scale(value + abs(value)) <= scale(value) + 1e-9 or value < 0


@given(SPANS, SPANS, st.booleans())
def test_ticks_are_few_rising_and_within(one: float, other: float, logarithmic: bool) -> None:
    low, high = sorted((one, other))
    assume(high / low > 1.001)
    scale = Scale(low=low, high=high, start=0.0, end=1.0, logarithmic=logarithmic)
    ticks = scale.ticks()
    assert len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    span = high - low
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)
    assert logarithmic or len(ticks) >= 2


@pytest.mark.parametrize(
    ("value", "name"), [(0.0, "0"), (0.25, "0.25"), (2.0, "2"), (12000.0, "12,000")]
)
def test_ticks_have_short_names(value: float, name: str) -> None:
    assert tick_name(value) == name
