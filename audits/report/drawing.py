"""Small pictures drawn by hand: SVG that is equal to the byte wherever it is drawn.

A report is checked by drawing its page again, years later and elsewhere, so nothing here may depend
on a plotting library's version or on a font that is measured. Colours are the page's CSS variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Inline SVG that names and describes itself."""

    svg: Markup
    title: str
    description: str


class Drawing:
    """A canvas in units of CSS pixels at full size; ``name`` ([a-z0-9-]) is unique on the page."""

    def __init__(self, *, name: str, width: float, height: float) -> None:
        self.name, self.width, self.height = name, width, height
        self._body: list[Markup] = []

    def line(self, start: tuple[float, float], end: tuple[float, float], *, style: str) -> None:
        """A straight line; ``style`` is a CSS class."""
        self._body.append(
            Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
                style, *_short(*start, *end)
            )
        )

    def path(self, points: Sequence[tuple[float, float]], *, style: str) -> None:
        """A line through points."""
        steps = " ".join(",".join(_short(*point)) for point in points)
        self._body.append(Markup('<polyline class="{}" points="{}"/>').format(style, steps))

    def area(self, corner: tuple[float, float], size: tuple[float, float], *, style: str) -> None:
        """A rectangle."""
        self._body.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                style, *_short(*corner, *size)
            )
        )

    def mark(self, at: tuple[float, float], *, style: str, shape: Literal["dot", "bar"]) -> None:
        """A dot, or an upright bar."""
        x, y = at
        if shape == "bar":
            self.area((x - 2, y - 9), (4, 18), style=style)
        else:
            self._body.append(
                Markup('<circle class="{}" cx="{}" cy="{}" r="5"/>').format(style, *_short(x, y))
            )

    def text(
        self, words: str, at: tuple[float, float], *, anchor: Anchor = "start", style: str = "label"
    ) -> None:
        """Words, escaped; ``at`` is on their base line."""
        self._body.append(
            Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
                style, *_short(*at), anchor, words
            )
        )

    def picture(self, *, title: str, description: str) -> Picture:
        """The SVG, named for those who cannot see it."""
        svg = Markup(
            '<svg class="drawn" viewBox="0 0 {} {}" role="img" '
            'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{title}</title>'
            '<desc id="{name}-desc">{description}</desc>{body}</svg>'
        ).format(
            *_short(self.width, self.height),
            name=self.name,
            title=escape(title),
            description=escape(description),
            body=Markup("").join(self._body),
        )
        return Picture(svg=svg, title=title, description=description)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From a number to a place on the canvas; ``logarithmic`` needs ``low`` above 0."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, cut off at both ends."""
        low, high, value = (self._bent(number) for number in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Four to nine round numbers within the scale."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high)
        return _linear_ticks(self.low, self.high)

    def _bent(self, value: float) -> float:
        return math.log(max(value, self.low)) if self.logarithmic else value


def tick_name(value: float) -> str:
    """A tick as it is written."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.6g}"


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    found = [value for value in found if low <= value <= high]
    while len(found) > 9:
        found = [value for value in found if math.log10(value) % 1 < 1e-9] or found[::2]
        if len(found) > 9:
            found = found[::2]
    return found


def _short(*numbers: float) -> list[str]:
    return [f"{number:.2f}".rstrip("0").rstrip(".") for number in numbers]
