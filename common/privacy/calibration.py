"""The smallest noise multiplier that keeps planned releases within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import (
    EPSILON_CAP,
    RESOLUTION,
    SMALLEST_DELTA,
    epsilon_of,
    raw_epsilon,
)
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import gaussian_noise_multiplier, merged

_DIGITS = 5
_STEP = 1.3
_SMALLEST, _LARGEST = 1e-2, 1e8


def calibrated_noise_multiplier(
    *,
    epsilon: float,
    delta: float,
    sampling_rate: float,
    count: int,
    already: tuple[GaussianEvent, ...] = (),
) -> float:
    """The smallest noise multiplier, of 5 significant digits, that the budget allows.

    ``count`` releases at ``sampling_rate`` with it, together with the events ``already`` fixed in
    advance, have ``epsilon_of(...) <= epsilon`` at ``delta``, and the next smaller number of 5
    digits has not. Cached. Raises :class:`PrivacyRefusal` if ``already`` leaves nothing, or if
    epsilon is outside [1e-4, 50] or delta outside [5e-11, 1).
    """
    if not (1 / RESOLUTION <= epsilon <= EPSILON_CAP and SMALLEST_DELTA <= delta < 1):
        raise PrivacyRefusal(
            f"Noise is calibrated for epsilon from {1 / RESOLUTION:g} to {EPSILON_CAP:g} and delta "
            f"from {SMALLEST_DELTA:g} to below 1, not for ({epsilon:g}, {delta:g})."
        )
    # Also refuses a sampling rate or a count that no event can have.
    GaussianEvent(noise_multiplier=1.0, sampling_rate=sampling_rate, count=count)
    return _calibrated(epsilon, delta, sampling_rate, count, merged(already))


@lru_cache(maxsize=1024)
def _calibrated(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    count: int,
    already: tuple[GaussianEvent, ...],
) -> float:
    # epsilon_of rounds up to the grid, so the unrounded epsilon must reach no further than this.
    target = math.floor(epsilon * RESOLUTION + 1e-6) / RESOLUTION
    spent = epsilon_of(already, delta=delta)
    if not spent < target:
        raise PrivacyRefusal(
            f"Nothing is left to plan with: releases before spend epsilon {spent:g} of {epsilon:g}."
        )

    def excess(log_sigma: float, *, coarse: bool) -> float:
        planned = GaussianEvent(
            noise_multiplier=math.exp(log_sigma), sampling_rate=sampling_rate, count=count
        )
        value = raw_epsilon(merged((*already, planned)), delta=delta, coarse=coarse)
        return math.log(max(value, 1e-9) / target)

    if sampling_rate == 1 and all(event.sampling_rate == 1 for event in already):
        total = gaussian_noise_multiplier(epsilon=target, delta=delta)
        precision = sum(event.count / event.noise_multiplier**2 for event in already)
        # Rounding may leave a budget that the closed form calls spent; the walk below mends that.
        left = max(total**-2 - precision, 1e-6 * total**-2)
        start, slope = 0.5 * math.log(count / left), -1.0
    else:
        guess = sampling_rate * math.sqrt(count)
        guess *= gaussian_noise_multiplier(epsilon=target, delta=delta)
        start, slope = _secant(
            lambda x: excess(x, coarse=True), math.log(max(guess, 0.4)), -1.0, tolerance=1e-3
        )
    start, _ = _secant(lambda x: excess(x, coarse=False), start, slope, tolerance=1e-3)

    def fits(noise_multiplier: float) -> bool:
        planned = GaussianEvent(
            noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, count=count
        )
        return epsilon_of((*already, planned), delta=delta) <= epsilon

    return _smallest_on_grid(math.exp(start), fits)


def _secant(
    excess: Callable[[float], float], start: float, slope: float, *, tolerance: float
) -> tuple[float, float]:
    """Root of the falling, smooth function ``excess`` of log sigma, and its slope.

    Ends with one more linear step once ``excess`` is within ``tolerance``, which squares the error;
    after 12 steps it gives up with its best guess, since the grid search after it needs no more.
    """
    point, value = start, excess(start)
    for _ in range(12):
        if abs(value) < tolerance:
            break
        step = max(-_STEP, min(_STEP, -value / slope))
        before, value = value, excess(point + step)
        point += step
        slope = min((value - before) / step, -0.1)
        _refuse_outside(point)
    return point - value / slope, slope


def _refuse_outside(log_sigma: float) -> None:
    if not math.log(_SMALLEST) - _STEP <= log_sigma <= math.log(_LARGEST):
        raise PrivacyRefusal(
            f"No noise multiplier from {_SMALLEST:g} to {_LARGEST:g} meets this budget; "
            "change epsilon, the number of releases or the sampling rate."
        )


def _smallest_on_grid(guess: float, fits: Callable[[float], bool]) -> float:
    """The smallest number of ``_DIGITS`` digits that ``fits``, found around ``guess``.

    ``fits`` must be false below some number and true from it on.
    """
    per_decade = 9 * 10 ** (_DIGITS - 1)

    def number(rank: int) -> float:
        exponent, place = divmod(rank, per_decade)
        value = float(f"{place + 10 ** (_DIGITS - 1)}e{exponent}")
        _refuse_outside(math.log(value))
        return value

    exponent = math.floor(math.log10(guess)) - _DIGITS + 1
    digits = math.ceil(guess * 10.0**-exponent)
    high = exponent * per_decade + digits - 10 ** (_DIGITS - 1)
    stride = 1
    low: int | None = None
    while not fits(number(high)):
        low, high, stride = high, high + stride, 4 * stride
    stride = 1
    while low is None:
        if fits(number(high - stride)):
            high, stride = high - stride, 4 * stride
        else:
            low = high - stride
    while high - low > 1:
        middle = (low + high) // 2
        if fits(number(middle)):
            high = middle
        else:
            low = middle
    return number(high)
