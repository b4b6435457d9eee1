"""What an epsilon bounds, as numbers that a physician can weigh."""

from __future__ import annotations

import math
from dataclasses import dataclass

FALSE_ALARMS = 0.01
"""Share of non-participants that the attacker of :attr:`Bound.found` accuses wrongly."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Limits of any attacker, whatever else it knows, from one (epsilon, delta)."""

    epsilon: float
    odds_factor: float
    """e^epsilon: how far the odds of "this patient took part" can grow, but for delta."""
    guess: float
    """Best share of right guesses on "did this patient take part?" that starts as a coin toss."""
    found: float
    """Best share of participants found by an attacker with :data:`FALSE_ALARMS` false alarms."""


def bound_of(epsilon: float, *, delta: float) -> Bound:
    """The hypothesis-testing reading of (epsilon, delta) differential privacy.

    Every test obeys TPR <= e^epsilon FPR + delta and 1 - FPR <= e^epsilon (1 - TPR) + delta
    (Kairouz, Oh, Viswanath 2015, theorem 2.1), so the best balanced guess, (1 + TPR - FPR) / 2, is
    (e^epsilon + delta) / (e^epsilon + 1). Both bounds are exact for (epsilon, delta), and loose
    for the Gaussian mechanism, which grants an attacker less.
    """
    # Written with e^-epsilon, so that a huge epsilon gives 1 and not inf / inf.
    shrink = math.exp(-epsilon)
    guess = (1 + delta * shrink) / (1 + shrink)
    rising = math.exp(min(epsilon, 700.0)) * FALSE_ALARMS + delta
    falling = 1 - (1 - FALSE_ALARMS - delta) * shrink
    return Bound(
        epsilon=epsilon,
        odds_factor=math.exp(min(epsilon, 700.0)),
        guess=min(1.0, guess),
        found=min(1.0, rising, falling),
    )
