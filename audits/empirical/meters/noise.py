"""Meters of the noise: as much as planned, around zero, Gaussian, in every release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedward.audits.empirical.meters.levels import (
    chi_square_p,
    judged,
    normal_p,
    not_applicable,
    smallest,
)
from fedward.audits.empirical.result import MeterResult
from fedward.common.privacy.sum_plan import SumKind

_ENOUGH = 100
"""Draws from which on a Gaussian shape can be told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedNoise:
    """The noise of one kind of sum, in units of its planned standard deviation.

    ``by_site`` holds ``[releases, coordinates]`` of each site's own share, in coordinates where
    nothing else is in the release, the same for all sites; ``of_sum`` that of the sum over the
    honest sites in units of what is planned for it, None where no sum is made.
    """

    kind: SumKind
    by_site: Mapping[str, NDArray[np.float64]]
    of_sum: NDArray[np.float64] | None

    def at(self, coordinates: NDArray[np.bool_]) -> SharedNoise:
        """In these coordinates alone, a mask ``[coordinates]``."""
        return replace(
            self,
            by_site={site: share[:, coordinates] for site, share in self.by_site.items()},
            of_sum=None if self.of_sum is None else self.of_sum[:, coordinates],
        )

    def with_shares(self, by_site: Mapping[str, NDArray[np.float64]]) -> SharedNoise:
        """With shares of other sites, or of the same ones in other rehearsals."""
        others = {f"{site} (small rehearsal)": share for site, share in by_site.items()}
        return replace(self, by_site={**self.by_site, **others})


def noise_meters(noise: SharedNoise) -> Iterator[MeterResult]:
    """Variance of the shares and of the sum, for one kind of sum."""
    shares = np.concatenate([share.ravel() for share in noise.by_site.values()])
    by_site = {site: _variance_p(share) for site, share in noise.by_site.items()}
    worst = min(by_site, key=by_site.__getitem__)
    # Once for all sites together, once for the worst of them.
    together = _variance_p(shares)
    p_values = np.array([together, smallest(np.array(list(by_site.values())))])
    located = worst if p_values[1] < p_values[0] else "all sites"
    yield judged(
        f"noise_of_{noise.kind}",
        f"Each site's share of the noise in {_named(noise.kind)} is as large as planned "
        f"({shares.size} draws; {_noticed(shares.size)}).",
        p_value=smallest(p_values),
        observed=float(np.mean(noise.by_site[worst] ** 2 if located == worst else shares**2)),
        expected=1.0,
        unit="planned variances",
        where=located,
    )
    if noise.of_sum is not None:
        yield judged(
            f"noise_of_summed_{noise.kind}",
            f"The noise in the sum of {_named(noise.kind)} over the honest sites is as large as "
            f"planned ({noise.of_sum.size} draws; {_noticed(noise.of_sum.size)}).",
            p_value=_variance_p(noise.of_sum),
            observed=float(np.mean(noise.of_sum**2)),
            expected=1.0,
            unit="planned variances",
            where="sum over the honest sites",
        )


def shape_meters(noise: SharedNoise) -> Iterator[MeterResult]:
    """Mean and shape of the noise, and that no single release goes without."""
    shares = np.concatenate([share.ravel() for share in noise.by_site.values()])
    deviation = float(shares.std())
    yield judged(
        "noise_mean",
        "The noise is around zero.",
        # Whatever its size: that is the variance's meter.
        p_value=normal_p(float(shares.sum()) / np.sqrt(shares.size) / deviation)
        if deviation > 0
        else 0.0,
        observed=float(shares.mean()),
        expected=0.0,
        unit="planned standard deviations",
    )
    if shares.size >= _ENOUGH and deviation > 0:
        against = stats.kstest(shares / deviation, "norm")
        yield judged(
            "noise_shape",
            "The noise has the shape of a Gaussian.",
            p_value=float(against.pvalue),
            observed=float(against.statistic),
            expected=0.0,
            unit="largest distance of the distributions",
        )
    else:
        yield not_applicable("noise_shape", "There are too few draws to see their shape.")


def release_meter(by_site: Mapping[str, NDArray[np.float64]]) -> MeterResult:
    """That every single release has noise of the planned size, ``[releases, coordinates]``."""
    lowest, where, p_values = np.inf, "", []
    for site, share in by_site.items():
        for number, release in enumerate(share, start=1):
            p_values.append(_variance_p(release))
            variance = float(np.mean(release**2))
            if variance < lowest:
                lowest, where = variance, f"{site}, release {number}"
    return judged(
        "noise_in_every_release",
        "No single release has less or more noise than planned, nor one over an empty batch.",
        p_value=smallest(np.array(p_values)),
        observed=lowest,
        expected=1.0,
        unit="planned variances (the smallest of all releases)",
        where=where,
    )


def _variance_p(noise: NDArray[np.float64]) -> float:
    return chi_square_p(float(np.sum(noise**2)), noise.size)


def _noticed(draws: int) -> str:
    """From which deviation on a meter of so many draws alarms, nine times of ten."""
    step = (5.6 + 1.3) * np.sqrt(2 / draws)
    if step >= 1:
        return "so few that only much more of it would be noticed"
    return f"noise below {np.sqrt(1 - step):.0%} of it would be noticed"


def _named(kind: SumKind) -> str:
    names: dict[SumKind, str] = {
        "moments": "sums for the scaler",
        "counts": "counts of outcomes",
        "training": "training sums",
        "evaluation": "evaluations",
        "site_evaluation": "evaluations of single sites",
    }
    return names[kind]
