"""Meters of single coordinates are quiet over independent noise, and find what is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.meters.coordinates import (
    coordinate_pairs_meter,
    every_coordinate_meter,
    two_runs_meter,
)
from fedward.audits.empirical.meters.noise import SharedNoise
from fedward.audits.empirical.meters.planned_noise import of_real_patients
from fedward.audits.empirical.result import MeterResult
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

Spoil = Callable[[NDArray[np.float64]], None]


def noise(seed: int, *, coordinates: int = 300, spoil: Spoil | None = None) -> SharedNoise:
    drawn = np.random.default_rng(seed).standard_normal((2, 12, coordinates))
    if spoil is not None:
        spoil(drawn)
    by_site = {"site-1": drawn[0], "site-2": drawn[1]}
    return SharedNoise(kind="training", by_site=by_site, of_sum=None)


def meters(one: SharedNoise) -> list[MeterResult]:
    few = np.arange(one.by_site["site-1"].shape[1]) < 4
    return [
        every_coordinate_meter([one], {"training": few}),
        coordinate_pairs_meter([one]),
        two_runs_meter([one]),
    ]


@pytest.mark.parametrize("coordinates", [2, 30, 300, 301, 1500])
def test_p_values_over_independent_noise_are_not_too_small(coordinates: int) -> None:
    found = np.array([
        [meter.p_value for meter in meters(noise(seed, coordinates=coordinates))]
        for seed in range(100)
    ])  # fmt: skip

    # At most 1 in 10, with five standard errors; Bonferroni's are larger than uniform ones.
    assert (np.mean(found < 0.1, axis=0) < 0.25).all()
    assert found.min() > 1e-5


def without_one_at_one_site(drawn: NDArray[np.float64]) -> None:
    drawn[1, :, 7] = 0.0


def less_at_real_patients(drawn: NDArray[np.float64]) -> None:
    drawn[..., :4] *= 0.4


def weakly_alike_neighbours(drawn: NDArray[np.float64]) -> None:
    drawn[..., 1:] += 0.15 * drawn[..., :-1]


def alike_far_apart(drawn: NDArray[np.float64]) -> None:
    drawn[..., 11] = -drawn[..., 222]


def alike_in_no_order(drawn: NDArray[np.float64]) -> None:
    order = np.random.default_rng(1).permutation(drawn.shape[-1]).reshape(2, -1)
    shared = drawn[..., order[0]] * 0.8 + 0.6 * drawn[..., order[1]]
    drawn[..., order[1]] = shared


def a_few_directions_alone(drawn: NDArray[np.float64]) -> None:
    mixed = np.random.default_rng(2).standard_normal((40, drawn.shape[-1]))
    drawn[...] = drawn[..., :40] @ mixed / np.sqrt(40)


def the_same_in_two_runs(drawn: NDArray[np.float64]) -> None:
    drawn[0, 9] = drawn[0, 2]


@pytest.mark.parametrize(
    ("spoil", "which"),
    [
        (without_one_at_one_site, 0),
        (less_at_real_patients, 0),
        (weakly_alike_neighbours, 1),
        (alike_far_apart, 1),
        (alike_in_no_order, 1),
        (a_few_directions_alone, 1),
        (the_same_in_two_runs, 2),
    ],
)
def test_a_part_finds_its_fault(spoil: Spoil, which: int) -> None:
    assert meters(noise(5, spoil=spoil))[which].check.passed is False


def test_short_releases_that_are_the_same_are_found() -> None:
    found = meters(noise(5, coordinates=4, spoil=the_same_in_two_runs))[2].check

    assert found.passed is False
    assert found.findings[0].where == (
        "training sum, site-1, release 3 and training sum, site-1, release 10"
    )


def test_coordinates_of_real_patients_are_all_but_the_canaries(
    audited: Callable[[str], Study],
) -> None:
    audit = AuditStudy.of(audited("full_mlp"), canaries=9)
    lengths = Dimensions.of(audit.study)
    training = of_real_patients("training", audit, length=lengths.parameters)
    moments = of_real_patients("moments", audit, length=lengths.moments)

    # Four hidden units, each with a weight for a canary; two moments.
    assert np.count_nonzero(~training) == 4 * 9
    assert np.count_nonzero(~moments) == 2 * 9
    assert training[: audit.real_columns].all()
    assert not training[audit.real_columns : audit.columns].any()
    assert training[4 * audit.columns :].all()
