"""The pictures of the report; nothing that a user wrote is drawn, only kinds and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedward.simulations.report.arms import STYLES, arm_name, of_kind
from fedward.simulations.report.numbers import decimals, epsilon_name, half_width, plus_minus
from fedward.simulations.report.svg import COLOURS, MUTED, Panel, canvas, panel, settings
from fedward.simulations.results import ArmResult, RoundPoint

Curve = Literal["accuracy", "auroc", "log_loss", "epsilon"]
CURVE_NAMES: dict[Curve, str] = {
    "accuracy": "Accuracy",
    "auroc": "AUROC",
    "log_loss": "Log loss",
    "epsilon": "Epsilon spent",
}
MOST_POINTS = 300
"""Rounds drawn at most; more would swell the page without being seen."""


def utility_against_epsilon(arms: Sequence[ArmResult], figure_of_merit: str, title: str) -> Panel:
    """Private arms as lines over epsilon (log), baselines as bands; both with intervals."""
    name = f"utility-{figure_of_merit.replace('_', '-')}"
    with settings(name):
        figure, axes = canvas(5.2, 3.5)
        said = []
        spans: list[float] = []
        epsilons: list[float] = []
        for kind, style in STYLES.items():
            colour = COLOURS[style.variable]
            same = [arm for arm in of_kind(arms, kind) if figure_of_merit in arm.summary]
            values = [arm.summary[figure_of_merit] for arm in same]
            for arm, value in zip(same, values, strict=True):
                said.append(f"{arm_name(arm)}: {plus_minus(value)}")
                spans += [
                    value.mean - (half_width(value) or 0),
                    value.mean + (half_width(value) or 0),
                ]
            if style.private:
                known = [(a.epsilon, v) for a, v in zip(same, values, strict=True) if a.epsilon]
                if not known:
                    continue
                epsilons += [e for e, _ in known]
                # A little apart, so that intervals at one epsilon do not hide each other.
                shift = {"pooled_private": 0.965, "federated_local": 1.035}.get(kind, 1.0)
                axes.errorbar(
                    [e * shift for e, _ in known],
                    [v.mean for _, v in known],
                    yerr=[half_width(v) or 0.0 for _, v in known],
                    color=colour,
                    marker=style.marker,
                    markersize=6,
                    linewidth=1.6,
                    linestyle="-" if style.dash is None else (0, style.dash),
                    capsize=2.5,
                    elinewidth=1.0,
                    zorder=3,
                )
            elif values:
                half = half_width(values[0])
                if half:
                    axes.axhspan(
                        values[0].mean - half, values[0].mean + half, color=colour, alpha=0.10, lw=0
                    )
                axes.axhline(
                    values[0].mean, color=colour, linewidth=1.4, dashes=style.dash, zorder=2
                )
                axes.plot(
                    [1.0], [values[0].mean], color=colour, marker=style.marker, markersize=6,
                    transform=axes.get_yaxis_transform(), clip_on=False, zorder=4,
                )  # fmt: skip
        if epsilons:
            axes.set_xscale("log")
            ticks = sorted({float(f"{value:.2g}") for value in epsilons})
            axes.set_xticks(ticks, [epsilon_name(tick) for tick in ticks])
            axes.minorticks_off()
            axes.set_xlim(min(epsilons) / 1.25, max(epsilons) * 1.25)
        if spans:
            _share_limits(axes, spans)
        axes.set_xlabel("epsilon (log scale; smaller is more private)")
        axes.set_title(title)
        return panel(
            figure,
            name=name,
            title=f"{title} against epsilon",
            description="; ".join(said) + ".",
        )


def convergence(arms: Sequence[ArmResult], curve: Curve, *, name: str) -> Panel | None:
    """One line for each arm over the rounds; None when no arm has the figure.

    Arms of one kind (at several epsilons) are told apart by width and opacity, rising with epsilon.
    """
    drawn = [(arm, _series(arm.rounds, curve)) for arm in arms]
    drawn = [(arm, series) for arm, series in drawn if series[0]]
    if not drawn:
        return None
    name = f"{name}-{curve.replace('_', '-')}"
    with settings(name):
        figure, axes = canvas(3.4, 2.7)
        kinds = [arm.kind for arm, _ in drawn]
        said = []
        for index, (arm, (rounds, values)) in enumerate(drawn):
            style = STYLES[arm.kind]
            rank, count = kinds[:index].count(arm.kind), kinds.count(arm.kind)
            share = (rank + 1) / count
            axes.plot(
                rounds,
                values,
                color=COLOURS[style.variable],
                linewidth=1.0 + 0.9 * share,
                alpha=0.4 + 0.6 * share,
                linestyle="-" if style.dash is None else (0, style.dash),
                marker=style.marker,
                markersize=4.5,
                markevery=[0, len(rounds) - 1] if len(rounds) > 8 else 1,
            )
            said.append(
                f"{arm_name(arm)}: {decimals(values[0])} in round {rounds[0]}, "
                f"{decimals(values[-1])} in round {rounds[-1]}"
            )
        if curve in {"accuracy", "auroc"}:
            _share_limits(axes, [value for _, (_, values) in drawn for value in values])
        else:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("round")
        axes.set_title(CURVE_NAMES[curve])
        return panel(
            figure,
            name=name,
            title=f"{CURVE_NAMES[curve]} by round",
            description="; ".join(said) + ".",
        )


def reliability(arm: ArmResult, *, name: str) -> Panel | None:
    """Observed share of positives against predicted probability, patients by bin below."""
    bins = [entry for entry in arm.calibration if entry.patients > 0]
    if not bins:
        return None
    style = STYLES[arm.kind]
    colour = COLOURS[style.variable]
    with settings(name):
        figure = Figure(figsize=(3.1, 3.7), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=(2, 2))
        predicted = [entry.mean_predicted or 0.0 for entry in bins]
        observed = [entry.observed_rate or 0.0 for entry in bins]
        upper.plot(
            predicted, observed, color=colour, marker=style.marker, markersize=6, linewidth=1.4,
            clip_on=False,
        )  # fmt: skip
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        upper.set_ylabel("observed share")
        lower.bar(
            [(entry.low + entry.high) / 2 for entry in bins],
            [entry.patients for entry in bins],
            width=[0.9 * (entry.high - entry.low) for entry in bins],
            color=colour,
        )
        lower.grid(visible=False, axis="x")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        lower.set_ylabel("patients")
        lower.set_xlabel("predicted probability")
        total = sum(entry.patients for entry in bins)
        return panel(
            figure,
            name=name,
            title=f"Calibration: {arm_name(arm)}",
            description=f"{total} predictions. "
            + "; ".join(
                f"predicted {decimals(entry.mean_predicted, 2)}, observed "
                f"{decimals(entry.observed_rate, 2)} of {entry.patients}"
                for entry in bins
            )
            + ".",
        )


def _series(points: Sequence[RoundPoint], curve: Curve) -> tuple[list[int], list[float]]:
    known = [(point.round, getattr(point, curve)) for point in points]
    known = [(number, value) for number, value in known if value is not None]
    if len(known) > MOST_POINTS:
        kept = np.linspace(0, len(known) - 1, MOST_POINTS).round().astype(int)
        known = [known[index] for index in kept]
    return [number for number, _ in known], [value for _, value in known]


def _share_limits(axes: Axes, values: Sequence[float]) -> None:
    """Limits that show the differences and never pass 1 by more than a marker's width."""
    low, high = max(0.0, min(values)), min(1.0, max(values))
    room = max(0.01, 0.06 * (high - low))
    axes.set_ylim(max(0.0, low - room), min(1.0, high) + room)
