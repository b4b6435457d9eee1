"""How many guesses to make: chosen by simulating the claim, before the outcome is looked at.

A number of guesses that was tuned on the outcome would void the confidence of the bounds. So runs
of the claimed mechanism are simulated, with random numbers of their own, and what does best there
is taken. If the mechanism is not as claimed, the choice may be a poor one; the bounds hold all the
same.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.claimed_releases import ClaimedReleases
from fedward.audits.empirical.f_dp_bound import f_dp_epsilon, rejected
from fedward.audits.empirical.guesses import Guessed, GuessPlan
from fedward.audits.empirical.one_run_bound import one_run_epsilon, p_value
from fedward.audits.empirical.result import Method
from fedward.audits.empirical.trade_off import trade_off_of
from fedward.common.privacy.accounting import raw_epsilon
from fedward.common.privacy.gaussian_mechanism import merged

METHODS: tuple[Method, ...] = (
    "steinke_nasr_jagielski_2023",
    "mahloujifar_melis_chaudhuri_2024",
)
_SHARES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.0)
"""Guesses made, over all canaries."""
_RUNS = 100
_UNLUCKY = 0.1
"""How rare fewer right guesses are than planned for. The median run would favour few guesses, whose
bounds scatter more."""
_MOST_VALUES = 15_000_000
"""Simulated altogether; beyond that there are fewer runs, but three at least."""
_STREAM = 0x61756469
"""Keeps the simulation's random numbers apart from those of a rehearsal with the same seed."""
_COARSE = 16
"""Steps of noise, 4 % together."""
_SHORT_OF = 0.95
"""A plan that refutes the claimed noise itself by a hair would hardly ever do so."""

_Run = tuple[NDArray[np.float64], NDArray[np.bool_]]


def lower_bound(
    method: Method,
    guessed: Guessed,
    claimed: ClaimedReleases,
    *,
    delta: float,
    confidence: float,
    tolerance: int = 1,
) -> float:
    """What epsilon at ``delta`` is at least by one of the methods, with this ``confidence``.

    ``tolerance`` is that of :func:`~fedward.audits.empirical.f_dp_bound.f_dp_epsilon`.
    """
    if method == "steinke_nasr_jagielski_2023":
        return one_run_epsilon(guessed, delta=delta, confidence=confidence)
    return f_dp_epsilon(
        guessed, claimed.events, delta=delta, confidence=confidence, tolerance=tolerance
    )


@lru_cache(maxsize=256)
def chosen_plan(
    method: Method, claimed: ClaimedReleases, *, canaries: int, delta: float, confidence: float
) -> GuessPlan:
    """The plan with the highest bound by ``method`` that nine of ten runs of the claim reach.

    Only of plans that could fail the claim: with all guesses right, 19/20 of the claimed
    noise would be refuted. (Few sure guesses give a high bound, and no higher one however bad the
    noise.) Where there is none among them, all count. If no plan shows anything, it is the one
    whose guesses are the furthest from chance in standard deviations. Cached; the same arguments
    give the same plan.
    """
    runs = _runs(claimed, canaries)
    plans = _candidates(canaries)
    able = [
        plan
        for plan in plans
        if could_fail(method, plan, claimed, canaries=canaries, delta=delta, confidence=confidence)
    ]

    def worth(plan: GuessPlan) -> tuple[float, float]:
        counts = [plan.made(*run).correct for run in runs]
        correct = int(np.quantile(counts, _UNLUCKY, method="lower"))
        guessed = Guessed(
            canaries=canaries, guesses=plan.guesses, correct=correct, sides=plan.sides
        )
        epsilon = lower_bound(
            method, guessed, claimed, delta=delta, confidence=confidence, tolerance=_COARSE
        )
        return epsilon, (correct - plan.guesses / 2) / np.sqrt(plan.guesses)

    return max(able or plans, key=worth)


def could_fail(
    method: Method,
    plan: GuessPlan,
    claimed: ClaimedReleases,
    *,
    canaries: int,
    delta: float,
    confidence: float,
) -> bool:
    """Whether all guesses of a plan being right would refute the claim at 19/20 of its noise."""
    guessed = Guessed(
        canaries=canaries, guesses=plan.guesses, correct=plan.guesses, sides=plan.sides
    )
    less = tuple(
        replace(event, noise_multiplier=_SHORT_OF * event.noise_multiplier)
        for event in claimed.events
    )
    if method == "steinke_nasr_jagielski_2023":
        epsilon = raw_epsilon(merged(less), delta=delta, coarse=True)
        return p_value(guessed, epsilon=epsilon, delta=delta) <= 1 - confidence
    return rejected(guessed, trade_off_of(less, coarse=True), significance=1 - confidence)


def _runs(claimed: ClaimedReleases, canaries: int) -> list[_Run]:
    count = max(3, min(_RUNS, _MOST_VALUES // claimed.values(canaries)))
    return [
        claimed.simulated(canaries, np.random.Generator(np.random.PCG64([_STREAM, number])))
        for number in range(count)
    ]


def _candidates(canaries: int) -> list[GuessPlan]:
    counts = sorted({max(1, round(share * canaries)) for share in _SHARES})
    two_sided = [GuessPlan(highest=count - count // 2, lowest=count // 2) for count in counts]
    one_sided = [
        GuessPlan(highest=count, lowest=0) for count in counts if 1 < 2 * count <= canaries
    ]
    return [*two_sided, *one_sided]
