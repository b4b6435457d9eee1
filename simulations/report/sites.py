"""Hospitals one by one when they are few; worst, median and best when they are many."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedward.simulations.results import ArmResult, ExperimentResult, SiteSummary

MOST_SITES = 12
"""Hospitals that get a column of their own."""


@dataclass(frozen=True, kw_only=True)
class SiteCell:
    """One hospital under one arm: mean over the seeds in which the figure is defined."""

    mean: float | None
    warmth: float
    """Where the mean lies between the lowest (0) and the highest (1) of the whole table."""


@dataclass(frozen=True, kw_only=True)
class SiteRow:
    """One arm over all hospitals, in the order of ``result.sites``."""

    arm: ArmResult
    cells: tuple[SiteCell, ...]

    @property
    def known(self) -> list[float]:
        """The defined means, lowest first."""
        return sorted(cell.mean for cell in self.cells if cell.mean is not None)

    def place(self, which: Literal["worst", "median", "best"]) -> tuple[float | None, int | None]:
        """The value at that place and (but for the median) its position in ``cells``."""
        known = self.known
        if not known:
            return None, None
        if which == "median":
            return statistics.median(known), None
        value = known[0] if which == "worst" else known[-1]
        return value, next(i for i, cell in enumerate(self.cells) if cell.mean == value)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A number over many hospitals."""

    lowest: float
    median: float
    highest: float


def site_rows(
    result: ExperimentResult, figure: Literal["accuracy", "auroc"]
) -> tuple[SiteRow, ...]:
    """One row for each arm."""
    means = [[_mean(arm, site.name, figure) for site in result.sites] for arm in result.arms]
    known = [mean for row in means for mean in row if mean is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    span = (high - low) or 1.0
    return tuple(
        SiteRow(
            arm=arm,
            cells=tuple(
                SiteCell(mean=mean, warmth=0.0 if mean is None else (mean - low) / span)
                for mean in row
            ),
        )
        for arm, row in zip(result.arms, means, strict=True)
    )


def spread_of(values: Sequence[float]) -> Spread:
    """Lowest, median and highest of at least one value."""
    return Spread(lowest=min(values), median=statistics.median(values), highest=max(values))


def training_patients(sites: Sequence[SiteSummary]) -> int:
    """Over all hospitals."""
    return sum(site.training_patients for site in sites)


def held_out_patients(sites: Sequence[SiteSummary]) -> int:
    """Over all hospitals."""
    return sum(site.held_out_patients for site in sites)


def _mean(arm: ArmResult, site: str, figure: Literal["accuracy", "auroc"]) -> float | None:
    values = []
    for seed in arm.seeds:
        metrics = seed.by_site.get(site)
        value = None if metrics is None or metrics.patients == 0 else getattr(metrics, figure)
        if value is not None:
            values.append(value)
    return statistics.fmean(values) if values else None
