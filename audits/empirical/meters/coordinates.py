"""Meters of single coordinates: each has noise of its own, none another's, none a past run's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from fedward.audits.empirical.meters.levels import correlation_p, judged, smallest
from fedward.audits.empirical.meters.noise import SharedNoise
from fedward.audits.empirical.result import MeterResult

_MANY = 64
"""Coordinates from which on sums over them are as good as Gaussian."""
_MOST_COMPARED = 512
"""Coordinates, or releases, of which every two are compared."""
_MOST_DRAWS = 4_000_000
_FINEST = 1e-5
"""Planned deviations; the ring's steps are finer."""


def every_coordinate_meter(
    noises: Sequence[SharedNoise], groups: Mapping[str, NDArray[np.bool_]]
) -> MeterResult:
    """That every coordinate of every kind of sum has noise as planned.

    ``groups`` are coordinates, by kind, that are judged together as well: those of real patients,
    which are few beside the canaries'.
    """
    found: list[tuple[float, str, float]] = []
    for noise in noises:
        squares = {site: np.sum(share**2, axis=0) for site, share in noise.by_site.items()}
        draws = {site: len(share) for site, share in noise.by_site.items()}
        parts = {
            site: (_variances_p(square, draws[site]), square / draws[site])
            for site, square in squares.items()
        }
        whole, number = np.sum(list(squares.values()), axis=0), sum(draws.values())
        parts["all sites"] = (_variances_p(whole, number), whole / number)
        for where, (p_values, means) in parts.items():
            worst = int(np.argmin(p_values))
            place = f"{noise.kind} sum, {where}, coordinate {worst}"
            found.append((smallest(p_values), place, float(means[worst])))
        if noise.kind in groups and (group := groups[noise.kind]).any():
            size = number * int(group.sum())
            p_value = float(_variances_p(np.array([whole[group].sum()]), size)[0])
            place = f"{noise.kind} sum, all sites, all coordinates of real patients"
            found.append((p_value, place, float(whole[group].sum() / size)))
    _, where, observed = min(found)
    return judged(
        "noise_in_every_coordinate",
        "Every coordinate of every kind of sum has its noise: real patients' as well as canaries'.",
        p_value=smallest(np.array([p_value for p_value, _, _ in found])),
        observed=observed,
        expected=1.0,
        unit="planned variances (where it is least likely)",
        where=where,
    )


def coordinate_pairs_meter(noises: Sequence[SharedNoise]) -> MeterResult:
    """That coordinates of one release share no noise.

    Every two of at most 512; every distance between coordinates; and the lengths of projections,
    which releases on each other are, whatever coordinates it is that are alike.
    """
    found: list[tuple[float, str, float]] = []
    for noise in noises:
        rows = _rows(noise)
        found.append((*_two_coordinates(rows, noise.kind),))
        if rows.shape[1] >= _MANY:
            found += [_distances(rows, noise.kind), _projections(rows, noise.kind)]
    _, where, observed = min(found)
    return judged(
        "noise_of_any_two_coordinates",
        "The noise in one coordinate tells nothing of another's in the same release.",
        p_value=smallest(np.array([p_value for p_value, _, _ in found])),
        observed=observed,
        expected=0.0,
        unit="correlation (where it is least likely)",
        where=where,
    )


def two_runs_meter(noises: Sequence[SharedNoise]) -> MeterResult:
    """That no release, of any kind of sum, has the noise of another run's, round's or site's.

    Long releases are compared by their correlation; of short ones, the largest difference of any
    coordinate must not be too small.
    """
    found: list[tuple[float, str, float]] = []
    for noise in noises:
        each = max(2, _MOST_COMPARED // len(noise.by_site))
        rows = np.concatenate([share[:each] for share in noise.by_site.values()])
        names = [
            f"{noise.kind} sum, {site}, release {number}"
            for site, share in noise.by_site.items()
            for number in range(1, len(share[:each]) + 1)
        ]
        first, second = np.triu_indices(len(rows), 1)
        correlation = _normed(rows) @ _normed(rows).T
        if rows.shape[1] >= _MANY:
            p_values = correlation_p(correlation[first, second], rows.shape[1])
        else:
            apart = np.abs(rows[first] - rows[second]).max(axis=1)
            # The density of a difference of two standard normals is at most 1 / sqrt(4 pi).
            chance = np.minimum(1.0, np.maximum(apart, _FINEST) / np.sqrt(np.pi))
            p_values = chance ** rows.shape[1]
        worst = int(np.argmin(p_values))
        a, b = int(first[worst]), int(second[worst])
        found.append((smallest(p_values), f"{names[a]} and {names[b]}", float(correlation[a, b])))
    _, where, observed = min(found)
    return judged(
        "noise_of_two_runs",
        "No release of any kind repeats the noise of another run's.",
        p_value=smallest(np.array([p_value for p_value, _, _ in found])),
        observed=observed,
        expected=0.0,
        unit="correlation (of the two that are least likely)",
        where=where,
    )


def _variances_p(squares: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """Two-sided p-values of sums of so many squared standard normals."""
    tails = np.minimum(stats.chi2.cdf(squares, draws), stats.chi2.sf(squares, draws))
    return np.asarray(np.minimum(1.0, 2 * tails), dtype=np.float64)


def _rows(noise: SharedNoise) -> NDArray[np.float64]:
    """Releases of all sites ``[releases, coordinates]``, no more of each than are needed."""
    coordinates = next(iter(noise.by_site.values())).shape[1]
    each = max(12, _MOST_DRAWS // coordinates // len(noise.by_site))
    return np.concatenate([share[:each] for share in noise.by_site.values()])


def _two_coordinates(rows: NDArray[np.float64], kind: str) -> tuple[float, str, float]:
    """By the correlation of every two coordinates over releases."""
    chosen = np.arange(rows.shape[1])
    if len(chosen) > _MOST_COMPARED:
        # Real patients' are the first and, of biases and later layers, the last.
        ends = _MOST_COMPARED // 4
        generator = np.random.Generator(np.random.PCG64(0))
        middle = generator.choice(chosen[ends:-ends], 2 * ends, replace=False)
        chosen = np.concatenate([chosen[:ends], np.sort(middle), chosen[-ends:]])
    if len(chosen) < 2:
        return 1.0, f"{kind} sum", 0.0
    normed = _normed(rows[:, chosen].T)
    first, second = np.triu_indices(len(chosen), 1)
    found = (normed @ normed.T)[first, second]
    worst = int(np.argmax(np.abs(found)))
    place = f"{kind} sum, coordinates {chosen[first[worst]]} and {chosen[second[worst]]}"
    # Monotone in the size of the correlation, so that one p-value is enough.
    p_value = float(correlation_p(found[worst : worst + 1], len(rows))[0])
    return min(1.0, p_value * len(found)), place, float(found[worst])


def _distances(rows: NDArray[np.float64], kind: str) -> tuple[float, str, float]:
    """By the correlation of all coordinates with those so many places on, around the end."""
    length = rows.shape[1]
    power = np.sum(np.abs(fft.rfft(rows, axis=1)) ** 2, axis=0)
    products = fft.irfft(power, n=length)
    found = products[1 : length // 2 + 1] / max(float(products[0]), 1e-300)
    if length % 2 == 0:
        # Halfway around, every product is there twice.
        found[-1] /= np.sqrt(2)
    p_values = correlation_p(found, rows.size)
    worst = int(np.argmin(p_values))
    place = f"{kind} sum, coordinates {worst + 1} apart"
    return smallest(p_values), place, float(found[worst])


def _projections(rows: NDArray[np.float64], kind: str) -> tuple[float, str, float]:
    """By the squared correlations of releases, which any alike coordinates make larger.

    Directions of independent noise are uniform on the sphere, so that squared correlations have
    mean 1 / coordinates and are pairwise independent. Few releases are taken at a time, as three
    of them are not quite.
    """
    length = rows.shape[1]
    statistic, pairs = 0.0, 0
    for start in range(0, len(rows) - 1, length // 8):
        part = _normed(rows[start : start + length // 8])
        upper = (part @ part.T)[np.triu_indices(len(part), 1)]
        statistic += length * float(np.sum(upper**2))
        pairs += upper.size
    p_value = float(_variances_p(np.array([statistic]), pairs)[0])
    return p_value, f"{kind} sum, releases projected on each other", statistic / pairs - 1


def _normed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))
