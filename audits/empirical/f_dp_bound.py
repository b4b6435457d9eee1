r"""A lower bound of epsilon from one run, if the mechanism is of the claimed family.

Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-Differential Privacy in One Run"
(arXiv 2410.22235). Let p_i be the probability that i of k guesses about m canaries are right, and

    r_c = sum_{i>=c} i/m p_i,        h_c = sum_{i>=c} (k - i)/m p_i.

Whether one canary is in changes only whether the guess about it is right, so f-DP, averaged over
all canaries, asks for h_{c-1} >= g(r_c), with g(power) the smallest type I error of f. If
P[correct >= c] is to be alpha, all of it at c and below that no more than g asks for is what needs
the least probability in total; if even that is above 1, then P[correct >= c] < alpha. (Moving
probability from i to i - 1 lowers r and raises h, so it never breaks another condition.)
If only one of "in" and "out" is ever guessed, the guess about a canary can be right for one value
of its coin alone and wrong for the other alone, so that 2 h_{c-1} >= g(2 r_c). That asks for more
than the above, as g is convex with g(0) = 0.

The families hold what a plan fixes and let the noise vary, and are ordered by it: all Gaussian
mechanisms where every release is over all patients, and the same number of Poisson-sampled Gaussian
releases at the same rates else. So the result is a bound for a mechanism of that family; for any
mechanism, take :mod:`fedward.audits.empirical.one_run_bound`. Whether the result is above the
claimed epsilon does not depend on the family beyond the claim itself.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

from fedward.audits.empirical.bisection import HIGHEST, STEPS_PER_UNIT
from fedward.audits.empirical.guesses import Guessed
from fedward.audits.empirical.trade_off import TradeOff, trade_off_of
from fedward.common.privacy.accounting import raw_epsilon
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import merged

_ROUNDING = 1e-9
"""Relative error of sums over some thousands of steps, far above what float64 makes of them."""
_STEPS_PER_DOUBLING = 256
"""Noise is tried in steps of 0.27 %."""
_MOST_STEPS = 10 * _STEPS_PER_DOUBLING


def rejected(guessed: Guessed, trade_off: TradeOff, *, significance: float) -> bool:
    """Whether so many right guesses have probability below ``significance`` under f-DP."""
    count, right, least = guessed.guesses, guessed.correct, trade_off.type_one
    scale = 2.0 if guessed.sides == 1 else 1.0
    whole = count / guessed.canaries * scale
    limit = whole * (1 + _ROUNDING)
    power = significance * right / guessed.canaries * scale
    wrong = significance * whole - power
    for index in range(right - 1, -1, -1):
        needed = least(min(power, 1.0))
        if needed <= wrong:
            return False
        power += index / (count - index) * (needed - wrong)
        wrong = needed
        if power + wrong > limit:
            return True
    return False


def f_dp_epsilon(
    guessed: Guessed,
    events: tuple[GaussianEvent, ...],
    *,
    delta: float,
    confidence: float,
    tolerance: int = 1,
) -> float:
    """What epsilon at ``delta`` is at least, with this ``confidence``, in the family of ``events``.

    ``events`` are the claimed releases that the guesses rest on; the family is these with all noise
    multiplied by one number. The result is the epsilon of the least noise that is rejected, rounded
    down to 1e-3; 0 if a thousand times the claimed noise is not, and never above 64. With a
    ``tolerance`` of n steps of 0.27 % of noise it is about that much lower, and quicker to find.
    """
    if not tolerance >= 1:
        raise ValueError(f"tolerance must be at least 1: {tolerance}")

    coarse = tolerance > 1

    def rejects(step: int) -> bool:
        trade_off = trade_off_of(_with_noise(events, step), coarse=coarse)
        return rejected(guessed, trade_off, significance=1 - confidence)

    def epsilon(step: int, *, coarse: bool = coarse) -> float:
        return _rounded_down(_with_noise(events, step), delta, coarse)

    # From the claimed noise upwards, or downwards where it is rejected itself.
    low, high, stride = 0, 0, _STEPS_PER_DOUBLING // 2
    if rejects(0):
        while rejects(low):
            if epsilon(low, coarse=True) == HIGHEST:
                return HIGHEST
            low, high, stride = low - stride, low, 2 * stride
    else:
        while not rejects(high):
            if high > _MOST_STEPS:
                return 0.0
            low, high, stride = high, high + stride, 2 * stride
    while high - low > tolerance:
        middle = (low + high) // 2
        if rejects(middle):
            high = middle
        else:
            low = middle
    return epsilon(high)


@lru_cache(maxsize=1024)
def _rounded_down(events: tuple[GaussianEvent, ...], delta: float, coarse: bool) -> float:
    epsilon = raw_epsilon(merged(events), delta=delta, coarse=coarse)
    return min(HIGHEST, math.floor(epsilon * STEPS_PER_UNIT) / STEPS_PER_UNIT)


def _with_noise(events: tuple[GaussianEvent, ...], step: int) -> tuple[GaussianEvent, ...]:
    times = 2 ** (step / _STEPS_PER_DOUBLING)
    return tuple(
        replace(event, noise_multiplier=event.noise_multiplier * times) for event in events
    )
