"""The experiment's table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.simulations.report.arms import STYLES, full_label
from fedward.simulations.report.numbers import (
    UNDEFINED,
    between,
    byte_count,
    decimals,
    epsilon,
    half_width,
    mean_count,
    seconds,
)
from fedward.simulations.report.traffic import detailed_arm
from fedward.simulations.results import ArmResult, ExperimentResult, Interval

FULL_WIDTH = 96
"""Columns from which every figure has room for its interval; below, accuracy alone keeps it."""

HEADINGS = ("accuracy", "AUROC", "sens. spec. F1", "worst site", "ε, ε alone", "seconds")
NARROW_HEADINGS = ("accuracy", "AUROC", "sens.\nspec. F1", "worst\nsite", "ε,\nε alone", "sec.")

INSECURE = (
    "The privacy noise came from a fixed seed ({seed}) and can be reproduced: "
    "no privacy guarantee holds."
)


def print_table(result: ExperimentResult, console: Console) -> None:
    """Print one row for each arm; in red first, if so, that the noise was reproducible."""
    if result.insecure_noise_seed is not None:
        console.print(Text(INSECURE.format(seed=result.insecure_noise_seed), style="bold red"))
    full = console.width >= FULL_WIDTH
    table = Table(title=Text(result.study_title), box=None, header_style="bold", pad_edge=False)
    table.add_column("model", overflow="fold", ratio=1, min_width=16)
    for name in HEADINGS if full else NARROW_HEADINGS:
        table.add_column(name, justify="right", no_wrap=True)
    before: bool | None = None
    for arm in result.arms:
        private = STYLES[arm.kind].private
        if before is not None and private != before:
            table.add_section()
        before = private
        table.add_row(*_cells(arm, full=full))
    console.print(table)
    console.print(Text(_caption(result), style="dim"))
    for line in (_wire(result), _measured(result)):
        if line:
            console.print(Text(line, style="dim"))


def _wire(result: ExperimentResult) -> str:
    """What a hospital sends and receives, in the way of the headline."""
    arm = detailed_arm(result)
    if arm is None or arm.traffic is None:
        return ""
    wire = arm.traffic
    lost = f", {mean_count(wire.lost)} of them lost" if wire.lost else ""
    return (
        f"{full_label(arm)}: a hospital sends {byte_count(wire.bytes_up)} and receives "
        f"{byte_count(wire.bytes_down)} in a round; {mean_count(wire.attempts)} attempts{lost}, "
        f"{mean_count(wire.exchanges)} exchanges."
    )


def _measured(result: ExperimentResult) -> str:
    """The coordinator's own estimate of that way's model, over all hospitals."""
    arm = detailed_arm(result)
    groups = arm.charged_evaluation[0].groups if arm and arm.charged_evaluation else []
    figures = next((group.figures for group in groups if group.name == "all"), {})
    known = [
        f"{title} {decimals(found.value, 2)} ({between(found.low, found.high, 2)})"
        for name, title in (("accuracy", "accuracy"), ("auroc", "AUROC"))
        if (found := figures.get(name)) is not None and found.value is not None
    ]
    if arm is None or not known:
        return ""
    return f"The coordinator itself measured, in seed {arm.seeds[0].seed}: {', '.join(known)}."


def _cells(arm: ArmResult, *, full: bool) -> tuple[Text, ...]:
    figures = arm.summary
    shares = (figures.get(name) for name in ("sensitivity", "specificity", "f1"))
    duration = figures.get("seconds")
    return (
        Text(full_label(arm).replace("ε = ", "ε=")),
        Text(_figure(figures.get("accuracy"), interval_shown=True)),
        Text(_figure(figures.get("auroc"), interval_shown=full)),
        Text(" ".join(_share(share.mean if share else None, 2) for share in shares)),
        Text(_figure(figures.get("worst_site_accuracy"), interval_shown=full)),
        Text(UNDEFINED if arm.epsilon is None else _both_epsilons(arm)),
        Text(seconds(duration.mean if duration else None)),
    )


def _both_epsilons(arm: ArmResult) -> str:
    return f"{epsilon(arm.epsilon)}, {epsilon(arm.epsilon_alone)}"


def _figure(interval: Interval | None, *, interval_shown: bool = True) -> str:
    if interval is None:
        return UNDEFINED
    half = half_width(interval) if interval_shown else None
    mean = _share(interval.mean, 3)
    return mean if half is None else f"{mean} ±{_share(half, 3)}"


def _share(value: float | None, digits: int) -> str:
    """Without the leading zero, to fit a terminal."""
    return UNDEFINED if value is None else f"{value:.{digits}f}".removeprefix("0")


def _caption(result: ExperimentResult) -> str:
    count = len(result.seeds)
    if count < 2:
        spread = "One seed, so no confidence interval."
    else:
        spread = f"Mean over {count} seeds ± half of the 95 % Student t interval."
    few = f"at most {result.colluding} of {len(result.sites)} hospitals cheat"
    if result.masked:
        held = f"ε holds when {few}, ε alone when all others do."
    else:
        held = (
            f"ε is for whoever sees only the sums and the model, when {few}. The releases were "
            "not masked: against the coordinator, ε alone is the number."
        )
    return f"{spread} Delta {result.delta:g}. {held}"
