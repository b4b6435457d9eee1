"""Intervals for a share or a mean when counts above and below the line are both noised.

Let X of M patients have a property, with probability theta each, and let X and Y = M - X be
released with independent Gaussian noise. For the true theta, and for no other,

    T(theta) = X - theta (X + Y) = (1 - theta) X - theta Y

has mean 0, whatever the noise; its variance is that of the sample, M theta (1 - theta), plus that
of the noise, (1 - theta)^2 sx^2 + theta^2 sy^2. The interval holds all theta whose T is within
1.96 of its own standard deviations of 0. That is Fieller's theorem (Fieller 1954) for the noise
and Wilson's score interval (Wilson 1927) for the sample, in one test: a division by a noisy count
never happens, which would be biased and have no variance. Without noise it is exactly Wilson's
interval with continuity correction (Newcombe 1998a, method 4), whose coverage does not fall below
the nominal one for few patients or shares near 0 and 1; half a patient is taken off |T| for it.

M, in the variance of the sample alone, is read as the noised count. It matters only where that
variance is at least of the noise's size, and there M is many times its own noise.

Fieller 1954, Some problems in interval estimation. Wilson 1927, Probable inference, the law of
succession, and statistical inference. Newcombe 1998a, Two-sided confidence intervals for the
single proportion: comparison of seven methods.
"""

from __future__ import annotations

import math

from fedward.server.evaluation.results import Estimate, Z

DISTINGUISHABLE = 3.0
"""A count below that many standard deviations of its noise may well be 0."""
LEAST_COUNT = 0.5
_CONTINUITY = 0.5


def is_distinguishable(count: float, *, noise: float) -> bool:
    """Whether a count with that standard deviation of noise is clear of 0.

    Fieller's interval is bounded from 1.96 on. At 3 a count of nobody passes once in 700 times,
    so that few figures of a table are there by chance.
    """
    return count > max(DISTINGUISHABLE * noise, LEAST_COUNT)


def count(number: float, *, noise: float) -> Estimate:
    """Estimate a number of patients from its noised value; no sampling, these are who they are."""
    number = max(number, 0.0)
    return Estimate.within(number, number - Z * noise, number + Z * noise, most=math.inf)


def share(part: float, rest: float, *, part_noise: float, rest_noise: float) -> Estimate:
    """Estimate the chance of belonging to ``part``, given noised counts of it and of the rest.

    Both are in patients, with the standard deviations of their independent noise. Unknown if the
    two together cannot be told from nobody.
    """
    if not is_distinguishable(part + rest, noise=math.hypot(part_noise, rest_noise)):
        return Estimate.unknown()
    # Counts are not negative. Reading one as 0 moves the far limit outwards only.
    part, rest = max(part, 0.0), max(rest, 0.0)
    patients = part + rest
    quadratic = (
        part_noise**2,
        patients - 2 * part_noise**2,
        part_noise**2 + rest_noise**2 - patients,
    )
    low = _root(part - _CONTINUITY, patients, quadratic, side=-1) if part > _CONTINUITY else 0.0
    high = _root(part + _CONTINUITY, patients, quadratic, side=1) if rest > _CONTINUITY else 1.0
    return Estimate.within(part / patients, low, high, most=1.0)


def mean(
    total: float,
    patients: float,
    *,
    total_noise: float,
    patients_noise: float,
    relative_variance: float,
) -> Estimate:
    """Estimate the mean of a number in [0, 1] from its noised sum over a noised count of patients.

    The number's variance is ``relative_variance`` (0 to 1) times mean (1 - mean), the most that a
    number in [0, 1] can have (Bhatia and Davis 2000, A better bound on the variance). Unknown if
    the count cannot be told from 0.
    """
    if not is_distinguishable(patients, noise=patients_noise):
        return Estimate.unknown()
    total = min(max(total, 0.0), patients)
    spread = patients * relative_variance
    quadratic = (total_noise**2, spread, patients_noise**2 - spread)
    low = _root(total, patients, quadratic, side=-1)
    high = _root(total, patients, quadratic, side=1)
    return Estimate.within(total / patients, low, high, most=1.0)


def _root(
    total: float, patients: float, quadratic: tuple[float, float, float], *, side: int
) -> float:
    """The limit theta on one side: (total - theta patients)^2 = Z^2 V(theta), V a quadratic."""
    constant, linear, square = quadratic
    leading = patients**2 - Z**2 * square
    middle = patients * total + Z**2 * linear / 2
    last = total**2 - Z**2 * constant
    # The count is clear of 0, so the leading term is positive and the set is one interval.
    return (middle + side * math.sqrt(max(middle**2 - leading * last, 0.0))) / leading
