"""The report of an experiment: one HTML page that opens offline, and its JSON beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fedward.simulations.report import cells, numbers
from fedward.simulations.report.arms import (
    STYLES,
    arm_name,
    of_kind,
    one_per_kind,
)
from fedward.simulations.report.headline import chosen_arms, headline_of
from fedward.simulations.report.meaning import FALSE_ALARMS, bound_of
from fedward.simulations.report.measured import (
    TITLES,
    columns_of,
    counted_rows,
    measured_rows,
    measured_seed,
    named_groups,
)
from fedward.simulations.report.plots import (
    CURVE_NAMES,
    convergence,
    reliability,
    utility_against_epsilon,
)
from fedward.simulations.report.site_plots import histogram, site_strips
from fedward.simulations.report.sites import (
    MOST_SITES,
    held_out_patients,
    site_rows,
    spread_of,
    training_patients,
)
from fedward.simulations.report.svg import Panel
from fedward.simulations.report.traffic import arms_with_traffic, detailed_arm, kind_rows
from fedward.simulations.report.visibility import sights_of
from fedward.simulations.results import ArmResult, ExperimentResult

PAGE_NAME: Final = "report.html"
JSON_NAME: Final = "results.json"
_HERE: Final = Path(__file__).parent


def write_report(result: ExperimentResult, folder: Path) -> Path:
    """Write ``report.html`` and ``results.json`` into ``folder`` and return the page's path.

    Both are rendered before anything is written, and each replaces its file as a whole: a reader
    finds the old or the new one. The page needs no other file and no network. For equal results
    both are equal to the byte.
    """
    page = render_page(result)
    document = result.model_dump_json(indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / JSON_NAME, document)
    _replace(folder / PAGE_NAME, page)
    return folder / PAGE_NAME


def render_page(result: ExperimentResult) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": cells.number,
        "interval": cells.interval,
        "epsilon": cells.epsilon,
        "percent": numbers.percent,
        "percent_at_most": numbers.percent_at_most,
        "factor_at_most": numbers.factor_at_most,
        "one_in": numbers.one_in,
        "seconds": numbers.seconds,
        "bytes": numbers.byte_count,
        "milliseconds": numbers.milliseconds,
        "count": numbers.mean_count,
        "figure": cells.figure,
        "inline": _inline,
        "label": cells.label,
    }
    return environment.get_template("report.html").render(_context(result))


def _context(result: ExperimentResult) -> Mapping[str, Any]:
    many = len(result.sites) > MOST_SITES
    private = [arm for arm in result.arms if arm.epsilon is not None]
    by_site = site_rows(result, "accuracy")
    strips = [(row.arm, row.known) for row in by_site if row.known]
    return {
        "result": result,
        "css": Markup((_HERE / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
        "styles": STYLES,
        "arm_name": arm_name,
        "headline": headline_of(result),
        "private": private,
        "focus": next((arm for arm in chosen_arms(result) if arm.epsilon is not None), None),
        "bounds": [(arm, *_bounds(arm, result.delta)) for arm in private],
        "bounds_of": lambda arm: _bounds(arm, result.delta),
        "false_alarms": FALSE_ALARMS,
        "utility": [
            utility_against_epsilon(result.arms, name, title)
            for name, title in (("accuracy", "Accuracy"), ("auroc", "AUROC"))
            if any(name in arm.summary for arm in result.arms)
        ],
        "convergence": _curves(one_per_kind(result.arms), "rounds"),
        "convergence_by_kind": _convergence_by_kind(result),
        "by_site": by_site,
        "by_site_auroc": site_rows(result, "auroc"),
        "many_sites": many,
        "strips": site_strips(strips) if many and strips else None,
        "histograms": _histograms(result) if many else [],
        "calibration": [
            (arm, drawn)
            for arm in one_per_kind(result.arms)
            if (drawn := reliability(arm, name=f"calibration-{arm.kind.replace('_', '-')}"))
        ],
        **_of_the_coordinator(result),
        "training_patients": training_patients(result.sites),
        "held_out_patients": held_out_patients(result.sites),
        "spread_of": spread_of,
        "page_name": PAGE_NAME,
        "json_name": JSON_NAME,
    }


def _of_the_coordinator(result: ExperimentResult) -> Mapping[str, Any]:
    """What it measured, what crossed to and from it, and what it saw."""
    measured = measured_rows(result, "groups")
    return {
        "measured": measured,
        "measured_by_site": measured_rows(result, "by_site"),
        "measured_names": named_groups(measured),
        "measured_seed": measured_seed(result),
        "counted": counted_rows(result),
        "columns_of": columns_of,
        "titles": TITLES,
        "traffic_arms": arms_with_traffic(result),
        "detailed": detailed_arm(result),
        "kind_rows": kind_rows,
        "sights": sights_of(result),
    }


def _bounds(arm: ArmResult, delta: float) -> tuple[Any, Any]:
    """What epsilon and epsilon alone bound; None where the arm has none."""
    allowance = delta if arm.delta is None else arm.delta
    return (
        None if arm.epsilon is None else bound_of(arm.epsilon, delta=allowance),
        None if arm.epsilon_alone is None else bound_of(arm.epsilon_alone, delta=allowance),
    )


def _curves(arms: list[ArmResult], name: str) -> list[Panel]:
    panels = (convergence(arms, curve, name=name) for curve in CURVE_NAMES)
    return [panel for panel in panels if panel is not None]


def _convergence_by_kind(
    result: ExperimentResult,
) -> list[tuple[str, list[ArmResult], list[Panel]]]:
    """For each private kind at several epsilons, its own curves."""
    found = []
    for kind, style in STYLES.items():
        arms = [arm for arm in of_kind(result.arms, kind) if arm.rounds]
        if style.private and len(arms) > 1:
            panels = (
                convergence(arms, curve, name=f"rounds-{kind.replace('_', '-')}")
                for curve in ("accuracy", "epsilon")
            )
            found.append((style.name, arms, [panel for panel in panels if panel is not None]))
    return found


def _histograms(result: ExperimentResult) -> list[Panel]:
    return [
        histogram(
            [site.training_patients for site in result.sites],
            name="sizes",
            title="Size of the hospitals",
            label="training patients",
        ),
        histogram(
            [site.training_positive_share for site in result.sites],
            name="shares",
            title="Case mix",
            label="share of positives",
        ),
    ]


def _inline(panel: Panel) -> Markup:
    # Safe: drawn by ourselves from numbers and fixed names, titles and descriptions escaped.
    return Markup(panel.svg)  # noqa: S704


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
