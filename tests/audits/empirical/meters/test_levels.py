"""P-values of the meters: as often below a level as that level says, and small where it matters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.audits.empirical.meters.levels import (
    LEVEL,
    binomial_p,
    chi_square_p,
    correlation_p,
    decided,
    judged,
    normal_p,
    not_applicable,
    smallest,
)
from fedward.audits.findings import Finding

Draw = Callable[[np.random.Generator], float]


def p_of_chi_square(generator: np.random.Generator) -> float:
    return chi_square_p(float(np.sum(generator.standard_normal(40) ** 2)), 40)


def p_of_correlation(generator: np.random.Generator) -> float:
    one, other = generator.standard_normal((2, 12))
    correlation = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return float(correlation_p(np.array(correlation), 12))


def p_of_binomial(generator: np.random.Generator) -> float:
    return binomial_p(int(generator.binomial(4000, 0.3)), 4000, 0.3)


def p_of_normal(generator: np.random.Generator) -> float:
    return normal_p(float(generator.standard_normal()))


@pytest.mark.parametrize("draw", [p_of_chi_square, p_of_correlation, p_of_binomial, p_of_normal])
def test_p_values_are_uniform_if_all_is_as_planned(draw: Draw) -> None:
    generator = np.random.default_rng(20)
    p_values = np.array([draw(generator) for _ in range(4000)])

    for level in (0.01, 0.1, 0.5):
        # Five standard errors; the binomial's are discrete and a little too large.
        error = 5 * np.sqrt(level * (1 - level) / 4000)
        assert abs(np.mean(p_values < level) - level) < error + 0.03 * level


def test_both_directions_count() -> None:
    assert chi_square_p(0.8 * 10_000, 10_000) < LEVEL
    assert chi_square_p(1.2 * 10_000, 10_000) < LEVEL
    assert binomial_p(0, 60, 0.4) < LEVEL
    assert binomial_p(60, 60, 0.4) < LEVEL
    assert correlation_p(np.array([-0.9, 0.9]), 100).max() < LEVEL
    assert correlation_p(np.array([1.0, -1.0]), 100).max() < LEVEL


def test_the_smallest_of_many_is_charged_for_their_number() -> None:
    assert smallest(np.array([0.2, 0.01, 0.5])) == pytest.approx(0.03)
    assert smallest(np.array([0.9, 0.8])) == 1.0


def test_a_meter_fails_below_the_level_and_says_what_it_saw() -> None:
    def meter(p_value: float) -> bool | None:
        found = judged(
            "name", "Meaning.", p_value=p_value, observed=2.0, expected=1.0, unit="u", where="here"
        )
        assert (not found.check.findings) is found.check.passed
        assert all(finding.where == "here" for finding in found.check.findings)
        return found.check.passed

    assert meter(LEVEL) is True
    assert meter(LEVEL / 2) is False
    assert meter(float("nan")) is False


def test_a_meter_without_chance_fails_by_its_findings() -> None:
    finding = Finding(severity="error", where="there", sentence="Wrong.")

    assert decided("name", "Meaning.", findings=()).check.passed is True
    assert decided("name", "Meaning.", findings=(finding,)).check.passed is False
    assert not_applicable("name", "Why.").check.passed is None
