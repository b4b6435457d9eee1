"""A lower bound of epsilon from one run, for (epsilon, delta)-DP whatever the mechanism is.

Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", theorem 5.2: each
of ``canaries`` patients is in the cohort by a fair coin of its own. Whoever sees what was released
says of ``guesses`` of them whether they are in, a number that was fixed in advance, and is right
``correct`` times. Under (epsilon, delta)-DP for adding or removing one patient,

    P[correct >= v] <= beta + 2 m delta max_{1<=i<=v} (P[v > B >= v - i] / i),

with B binomial of ``guesses`` draws at e^epsilon / (1 + e^epsilon), and beta = P[B >= v].
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import binom

from fedward.audits.empirical.bisection import largest_rejected
from fedward.audits.empirical.guesses import Guessed


def p_value(guessed: Guessed, *, epsilon: float, delta: float) -> float:
    """At most how probable so many right guesses are under (``epsilon``, ``delta``)-DP.

    ``epsilon`` >= 0 and ``delta`` in [0, 1]; the result is in [0, 1].
    """
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise ValueError(f"no (epsilon, delta): {epsilon}, {delta}")
    right, chance = guessed.correct, float(expit(epsilon))
    # tails[i] = P[B >= right - i], from beta at i = 0 to 1 at i = right
    tails = binom.sf(np.arange(right - 1, -2, -1), guessed.guesses, chance)
    beta = float(tails[0])
    if right == 0 or delta == 0:
        return min(1.0, beta)
    slopes = (tails[1:] - beta) / np.arange(1, right + 1)
    return min(1.0, beta + 2 * guessed.canaries * delta * float(slopes.max()))


def one_run_epsilon(guessed: Guessed, *, delta: float, confidence: float) -> float:
    """What epsilon at ``delta`` is at least, with this ``confidence``; 0 if nothing is shown.

    The largest epsilon whose p-value is at most 1 - ``confidence``, rounded down to 1e-3; never
    above :data:`~fedward.audits.empirical.bisection.HIGHEST`.
    """
    return largest_rejected(
        lambda epsilon: p_value(guessed, epsilon=epsilon, delta=delta) <= 1 - confidence
    )
