"""Meters of fresh noise: no release repeats another's, in whatever round, at whatever site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.meters.levels import (
    chi_square_p,
    correlation_p,
    judged,
    not_applicable,
    smallest,
)
from fedward.audits.empirical.result import MeterResult

_MOST_RELEASES = 400
"""Releases that are compared with each other, the first of all sites."""


def independence_meters(by_site: Mapping[str, NDArray[np.float64]]) -> Iterator[MeterResult]:
    """Meters over shares ``[releases, coordinates]`` by site, in the same coordinates."""
    shares = list(by_site.values())
    if len(shares[0]) < 2:
        for name in ("noise_of_neighbouring_rounds", "noise_that_persists"):
            yield not_applicable(name, "The study has one round, so no noise can come again.")
    else:
        yield _neighbours(shares)
        yield _persistence(shares)
    yield _across_sites(by_site)
    yield _pairs(by_site)


def _neighbours(shares: list[NDArray[np.float64]]) -> MeterResult:
    before = np.concatenate([share[:-1].ravel() for share in shares])
    after = np.concatenate([share[1:].ravel() for share in shares])
    correlation = _correlation(before, after)
    return judged(
        "noise_of_neighbouring_rounds",
        "The noise of a round tells nothing of the next round's.",
        p_value=float(correlation_p(np.array(correlation), before.size)),
        observed=correlation,
        expected=0.0,
        unit="correlation",
    )


def _persistence(shares: list[NDArray[np.float64]]) -> MeterResult:
    """The sum over rounds grows with their square root only if nothing of it stays."""
    rounds = len(shares[0])
    sums = np.concatenate([share.sum(axis=0) / max(share.std(), 1e-300) for share in shares])
    statistic = float(np.sum(sums**2) / rounds)
    return judged(
        "noise_that_persists",
        "No part of the noise stays the same from round to round.",
        p_value=chi_square_p(statistic, sums.size),
        observed=statistic / sums.size,
        expected=1.0,
        unit="variances of the sum over all rounds",
    )


def _across_sites(by_site: Mapping[str, NDArray[np.float64]]) -> MeterResult:
    name = "noise_across_sites"
    if len(by_site) < 2:
        return not_applicable(name, "There is one site.")
    pairs = list(combinations(by_site, 2))
    found = np.array([_correlation(by_site[a].ravel(), by_site[b].ravel()) for a, b in pairs])
    worst = int(np.argmax(np.abs(found)))
    size = next(iter(by_site.values())).size
    return judged(
        name,
        "The noise of one site tells nothing of another's, so that their differences are noised.",
        p_value=smallest(correlation_p(found, size)),
        observed=float(found[worst]),
        expected=0.0,
        unit="correlation (the largest of all pairs)",
        where=" and ".join(pairs[worst]),
    )


def _pairs(by_site: Mapping[str, NDArray[np.float64]]) -> MeterResult:
    each = max(2, _MOST_RELEASES // len(by_site))
    rows = np.concatenate([share[:each] for share in by_site.values()])
    names = [
        f"{site}, release {number}"
        for site, share in by_site.items()
        for number in range(1, len(share[:each]) + 1)
    ]
    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    upper = np.triu_indices(len(rows), 1)
    found = ((rows / norms) @ (rows / norms).T)[upper]
    worst = int(np.argmax(np.abs(found)))
    return judged(
        "noise_of_any_two_releases",
        f"No two of {len(rows)} releases hold the same noise, not even in part.",
        p_value=smallest(correlation_p(found, rows.shape[1])),
        observed=float(found[worst]),
        expected=0.0,
        unit="correlation (the largest of all pairs)",
        where=f"{names[upper[0][worst]]} and {names[upper[1][worst]]}",
    )


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms > 0 else 1.0
