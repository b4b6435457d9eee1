"""P-values of meters, and below which of them a meter raises the alarm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedward.audits.empirical.result import MeterResult
from fedward.audits.findings import CheckResult, Finding

FAMILY_LEVEL = 1e-6
"""Chance that an audit of a sound vault raises any alarm, at most."""
MOST_TESTS = 30
"""P-values in one audit, at most."""
LEVEL = FAMILY_LEVEL / MOST_TESTS


def judged(
    name: str,
    sentence: str,
    *,
    p_value: float,
    observed: float,
    expected: float,
    unit: str,
    where: str = "",
) -> MeterResult:
    """A meter that passes unless ``p_value`` is below :data:`LEVEL`; ``where`` locates it.

    What cannot be computed, NaN, is an alarm.
    """
    p_value = 0.0 if np.isnan(p_value) else p_value
    passed = bool(p_value >= LEVEL)
    found = f"observed {observed:.6g} {unit}, expected {expected:.6g}; p = {p_value:.3g}."
    findings = () if passed else (Finding(severity="error", where=where, sentence=found),)
    return MeterResult(
        check=CheckResult(name=name, passed=passed, sentence=sentence, findings=findings),
        observed=float(observed) if np.isfinite(observed) else None,
        expected=float(expected),
        unit=unit,
        p_value=float(p_value),
    )


def decided(
    name: str,
    sentence: str,
    *,
    findings: tuple[Finding, ...],
    observed: float | None = None,
    expected: float | None = None,
    unit: str = "",
) -> MeterResult:
    """A meter without chance: it fails if it found anything."""
    check = CheckResult(name=name, passed=not findings, sentence=sentence, findings=findings)
    return MeterResult(check=check, observed=observed, expected=expected, unit=unit, p_value=None)


def not_applicable(name: str, why: str) -> MeterResult:
    """A meter that has nothing to measure in this study; neither passed nor failed."""
    check = CheckResult(name=name, passed=None, sentence=why)
    return MeterResult(check=check, observed=None, expected=None, unit="", p_value=None)


def normal_p(z: float) -> float:
    """Two-sided p-value of a standard normal statistic."""
    return float(2 * stats.norm.sf(abs(z)))


def chi_square_p(statistic: float, freedom: float) -> float:
    """Two-sided p-value: both too much and too little spread count."""
    return two_sided(
        float(stats.chi2.cdf(statistic, freedom)), float(stats.chi2.sf(statistic, freedom))
    )


def binomial_p(count: int, trials: int, rate: float) -> float:
    """Two-sided exact p-value of a number of successes."""
    return two_sided(
        float(stats.binom.cdf(count, trials, rate)), float(stats.binom.sf(count - 1, trials, rate))
    )


def two_sided(below: float, above: float) -> float:
    """Twice the smaller tail, at most 1."""
    return min(1.0, 2 * min(below, above))


def smallest(p_values: NDArray[np.float64]) -> float:
    """The smallest p-value, times how many there are (Bonferroni)."""
    return min(1.0, float(np.min(p_values)) * np.size(p_values))


def correlation_p(correlation: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Two-sided p-values of correlations of vectors with known mean 0, exact for Gaussian ones."""
    bounded = np.clip(correlation, -1 + 1e-15, 1 - 1e-15)
    t = bounded * np.sqrt((length - 1) / (1 - bounded**2))
    return np.asarray(2 * stats.t.sf(np.abs(t), length - 1), dtype=np.float64)
