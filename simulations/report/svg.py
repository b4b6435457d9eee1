"""From a matplotlib figure to an SVG that belongs into the page.

Deterministic, without outside references, coloured by the page's CSS variables (so it follows light
and dark), with ids that do not clash between figures and with text as text.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedward.simulations.report.arms import STYLES

# matplotlib wants a colour, CSS a variable: each variable gets a colour that nothing else uses.
_VARIABLES: Final = (
    "--ink",
    "--muted",
    "--grid",
    "--paper",
    *(s.variable for s in STYLES.values()),
)
COLOURS: Final = {name: f"#f0e1{index:02x}" for index, name in enumerate(_VARIABLES)}
INK, MUTED, GRID, PAPER = (COLOURS[name] for name in _VARIABLES[:4])

_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "text.parse_math": False,
    "path.simplify": True,
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of the page: inline SVG that names and describes itself."""

    svg: str
    title: str
    description: str


def settings(name: str) -> Any:
    """The context in which the figure called ``name`` is drawn and rendered."""
    return mpl.rc_context({**_SETTINGS, "svg.hashsalt": name})


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, in inches; outside pyplot, so nothing is kept."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def panel(figure: Figure, *, name: str, title: str, description: str) -> Panel:
    """Render within :func:`settings`; ``name`` ([a-z0-9-]) is unique on the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Panel(
        svg=_inlined(buffer.getvalue(), name=name, title=title, description=description),
        title=title,
        description=description,
    )


def _inlined(svg: str, *, name: str, title: str, description: str) -> str:
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    if box is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    body = re.sub(r"^<svg[^>]*>", "", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r' id="(?:figure|axes|matplotlib\.axis|xtick|ytick|patch|line2d)[^"]*"', "", body)
    body = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', body)
    body = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r"font: ([^;\"']*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--sans)", body)
    for variable, colour in COLOURS.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r">\s+<", "><", body)
    return (
        f'<svg viewBox="{box.group(1)}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body}'
    )
