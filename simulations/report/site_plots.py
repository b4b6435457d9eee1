"""Pictures of many hospitals at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from fedward.simulations.report.arms import STYLES, arm_name
from fedward.simulations.report.numbers import decimals
from fedward.simulations.report.svg import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    Panel,
    canvas,
    panel,
    settings,
)
from fedward.simulations.results import ArmResult

MOST_DOTS = 150
"""Hospitals drawn for one arm at most, evenly from worst to best."""


def site_strips(accuracies: Sequence[tuple[ArmResult, Sequence[float]]]) -> Panel:
    """A dot for each hospital, a row for each arm, a bar at the median; for many hospitals."""
    name = "site-strips"
    with settings(name):
        figure, axes = canvas(9.6, 0.7 + 0.34 * len(accuracies))
        said = []
        for row, (arm, values) in enumerate(accuracies):
            style = STYLES[arm.kind]
            dots = np.sort(np.asarray(values, dtype=np.float64))
            if dots.size > MOST_DOTS:
                dots = dots[np.linspace(0, dots.size - 1, MOST_DOTS).round().astype(int)]
            # Golden-ratio jitter: spread, and the same on every run.
            heights = row + ((np.arange(dots.size) * 0.618034) % 1 - 0.5) * 0.6
            axes.plot(
                dots, heights, linestyle="none", color=COLOURS[style.variable],
                marker=style.marker, markersize=3.6, alpha=0.6, markeredgewidth=0,
            )  # fmt: skip
            middle = float(np.median(values))
            axes.plot([middle, middle], [row - 0.38, row + 0.38], color=INK, linewidth=2)
            said.append(
                f"{arm_name(arm)}: worst {decimals(min(values))}, median {decimals(middle)}, "
                f"best {decimals(max(values))}"
            )
        axes.set_yticks(range(len(accuracies)), [arm_name(arm) for arm, _ in accuracies])
        axes.set_ylim(len(accuracies) - 0.4, -0.6)
        axes.set_xlabel("accuracy at one hospital, mean over seeds (bar: median)")
        return panel(
            figure, name=name, title="Accuracy by hospital", description="; ".join(said) + "."
        )


def histogram(values: Sequence[float], *, name: str, title: str, label: str) -> Panel:
    """How a number is spread over the hospitals."""
    with settings(name):
        figure, axes = canvas(3.8, 2.4)
        axes.hist(values, bins=min(20, max(5, math.isqrt(len(values)))), color=MUTED, ec=PAPER)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(label)
        axes.set_ylabel("hospitals")
        axes.set_title(title)
        described = (
            f"{len(values)} hospitals; lowest {decimals(min(values), 2)}, median "
            f"{decimals(float(np.median(values)), 2)}, highest {decimals(max(values), 2)}."
        )
        return panel(figure, name=name, title=title, description=described)
