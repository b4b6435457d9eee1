from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from fedward.server.evaluation.noisy_ratios import count, is_distinguishable, mean, share
from fedward.server.evaluation.results import Estimate, Z

NOISE = (0.0, 2.0, 6.0, 20.0)
REPLICATES = 1500


def covers(found: Estimate, truth: float) -> bool:
    """Whether an interval holds the truth; nothing said is nothing wrong."""
    if found.low is None or found.high is None:
        return True
    return found.low <= truth <= found.high


@pytest.mark.parametrize(
    ("part", "rest", "low", "high"),
    [
        (81, 182, 0.2535, 0.3682),
        (15, 133, 0.0598, 0.1644),
        (0, 20, 0.0, 0.2005),
        (1, 28, 0.0018, 0.1963),
    ],
)
def test_without_noise_it_is_the_score_interval_of_the_literature(
    part: float, rest: float, low: float, high: float
) -> None:
    """Newcombe 1998, table I, method 4."""
    found = share(part, rest, part_noise=0.0, rest_noise=0.0)
    assert found.value == pytest.approx(part / (part + rest))
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(st.floats(0, 3000), st.floats(0, 3000), st.floats(0, 30), st.floats(0, 30))
def test_limits_are_where_the_test_turns(
    part: float, rest: float, part_noise: float, rest_noise: float
) -> None:
    """Found again by root finding on the test itself, with half a patient taken off."""
    found = share(part, rest, part_noise=part_noise, rest_noise=rest_noise)
    if found.value is None or found.low is None or found.high is None:
        return
    patients = part + rest

    def excess(theta: float, sign: float) -> float:
        variance = patients * theta * (1 - theta)
        variance += (1 - theta) ** 2 * part_noise**2 + theta**2 * rest_noise**2
        return sign * (part - theta * patients) - 0.5 - Z * math.sqrt(variance)

    if found.low > 1e-6:
        assert found.low == pytest.approx(
            brentq(lambda theta: excess(theta, 1.0), 0.0, found.value), abs=1e-6
        )
    if found.high < 1 - 1e-6:
        assert found.high == pytest.approx(
            brentq(lambda theta: excess(theta, -1.0), found.value, 1.0), abs=1e-6
        )


@given(st.floats(10, 1000), st.floats(10, 1000), st.floats(0, 3), st.floats(0.1, 3))
def test_more_noise_never_narrows(part: float, rest: float, noise: float, more: float) -> None:
    narrow = share(part, rest, part_noise=noise, rest_noise=noise)
    wide = share(part, rest, part_noise=noise + more, rest_noise=noise + more)
    if narrow.low is None or narrow.high is None or wide.low is None or wide.high is None:
        return
    assert wide.low <= narrow.low + 1e-9
    assert wide.high >= narrow.high - 1e-9


def test_part_and_rest_are_symmetric() -> None:
    one = share(70.0, 30.0, part_noise=4.0, rest_noise=2.0)
    other = share(30.0, 70.0, part_noise=2.0, rest_noise=4.0)
    assert one.value == pytest.approx(1 - (other.value or 0))
    assert one.low == pytest.approx(1 - (other.high or 0))
    assert one.high == pytest.approx(1 - (other.low or 0))


@pytest.mark.parametrize(
    ("part", "rest", "noise"), [(0.0, 0.0, 0.0), (10.0, 5.0, 6.0), (-40.0, 10.0, 0.1)]
)
def test_a_count_that_may_be_nobody_has_no_shares(part: float, rest: float, noise: float) -> None:
    assert not share(part, rest, part_noise=noise, rest_noise=noise).known


def test_a_negative_count_is_read_as_nobody() -> None:
    found = share(100.0, -9.0, part_noise=6.0, rest_noise=6.0)
    assert found.value == found.high == 1.0
    assert found == share(100.0, 0.0, part_noise=6.0, rest_noise=6.0)
    assert found.low is not None
    assert 0.8 < found.low < 0.95


def test_a_count_of_patients_covers_its_noise_alone() -> None:
    found = count(100.0, noise=10.0)
    assert found.low == pytest.approx(100 - 19.6, abs=0.01)
    assert found.high == pytest.approx(100 + 19.6, abs=0.01)
    assert count(100.0, noise=0.0) == Estimate(value=100.0, low=100.0, high=100.0)
    assert count(-30.0, noise=10.0).low == 0.0
    assert count(-30.0, noise=10.0).high == pytest.approx(19.6, abs=0.01)


def test_nobody_is_rarely_taken_for_somebody() -> None:
    noise = np.random.Generator(np.random.PCG64(3)).standard_normal(20000) * 5
    passed = sum(is_distinguishable(float(draw), noise=5.0) for draw in noise)
    assert passed < 60
    assert is_distinguishable(15.1, noise=5.0)


@pytest.mark.parametrize("truth", [0.03, 0.3, 0.86, 0.98])
@pytest.mark.parametrize("patients", [6, 30, 300, 3000, 20000])
def test_shares_are_covered(truth: float, patients: int) -> None:
    for noise in NOISE:
        generator = np.random.Generator(np.random.PCG64([patients, int(100 * truth), int(noise)]))
        part = generator.binomial(patients, truth, REPLICATES)
        parts = part + noise * generator.standard_normal(REPLICATES)
        rests = patients - part + 2 * noise * generator.standard_normal(REPLICATES)
        covered = sum(
            covers(share(x, y, part_noise=noise, rest_noise=2 * noise), truth)
            for x, y in zip(parts.tolist(), rests.tolist(), strict=True)
        )
        assert covered >= 0.935 * REPLICATES, f"noise {noise}"


def test_coverage_fails_if_the_noise_is_passed_over_or_halved() -> None:
    generator = np.random.Generator(np.random.PCG64(5))
    part = generator.binomial(300, 0.86, REPLICATES)
    parts = (part + 20 * generator.standard_normal(REPLICATES)).tolist()
    rests = (300 - part + 20 * generator.standard_normal(REPLICATES)).tolist()

    def coverage(noise: float) -> float:
        found = [
            covers(share(x, y, part_noise=noise, rest_noise=noise), 0.86)
            for x, y in zip(parts, rests, strict=True)
        ]
        return sum(found) / REPLICATES

    assert coverage(20.0) >= 0.935
    assert coverage(10.0) < 0.85
    assert coverage(0.0) < 0.7


@pytest.mark.parametrize(
    ("patients", "noise", "widest"),
    [(300, 0.0, 0.09), (300, 2.0, 0.1), (3000, 6.0, 0.033), (20000, 20.0, 0.013)],
)
def test_intervals_are_not_vacuous(patients: int, noise: float, widest: float) -> None:
    found = share(0.86 * patients, 0.14 * patients, part_noise=noise, rest_noise=noise)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < widest


def beta_errors(seed: int, *, patients: int) -> Any:
    """Numbers in [0, 1] with mean 0.1 and a variance of a fifth of the possible."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator, generator.beta(0.4, 3.6, (REPLICATES, patients)).sum(1)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("patients", [60, 300])
def test_means_are_covered(patients: int, noise: float) -> None:
    generator, totals = beta_errors(7, patients=patients)
    totals = totals + 3 * noise * generator.standard_normal(REPLICATES)
    counts = patients + noise * generator.standard_normal(REPLICATES)

    def coverage(declared: float) -> float:
        found = [
            covers(
                mean(
                    x,
                    m,
                    total_noise=3 * declared,
                    patients_noise=declared,
                    relative_variance=0.2,
                ),
                0.1,
            )
            for x, m in zip(totals.tolist(), counts.tolist(), strict=True)
        ]
        return sum(found) / REPLICATES

    assert coverage(noise) >= 0.935
    if noise >= 6:
        assert coverage(0.0) < 0.8


def test_a_mean_without_noise_has_the_usual_width() -> None:
    found = mean(300.0, 3000.0, total_noise=0.0, patients_noise=0.0, relative_variance=0.2)
    assert found.low is not None
    assert found.high is not None
    usual = 2 * Z * math.sqrt(0.2 * 0.1 * 0.9 / 3000)
    assert found.high - found.low == pytest.approx(usual, rel=0.01)
    assert not mean(3.0, 10.0, total_noise=1.0, patients_noise=6.0, relative_variance=1.0).known
