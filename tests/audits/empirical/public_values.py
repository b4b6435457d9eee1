"""Lower bounds that jax-privacy's own tests publish for a deterministic pair of normal samples.

`auditing_test.py`, `test_epsilon_one_run_close` of jax_privacy (Google DeepMind): 10,000 canaries
in and 10,000 out, whose scores are the normal quantiles at (i + 1/2) / 10,000, those of the
canaries in moved by a shift; significance 0.05 shared by all thresholds on the concave hull; delta
1e-6. Only "in" is guessed, and its f-DP bound takes no advantage of that.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from fedward.audits.empirical.guesses import Guessed

CANARIES = 10_000
DELTA = 1e-6
ONE_RUN = {1: 1.13346, 2: 2.311945, 4: 4.395568}
F_DP = {1: 2.164749, 2: 4.7218075, 4: 9.133752}


def guesses_of(shift: float) -> tuple[list[Guessed], float]:
    """What is guessed right at every threshold of the hull, and the significance of each."""
    absent = norm.ppf((np.arange(CANARIES) + 0.5) / CANARIES)
    thresholds = np.append(np.union1d(absent, absent + shift), np.inf)
    points = np.stack(
        [np.searchsorted(absent + shift, thresholds), np.searchsorted(absent, thresholds)], axis=1
    )
    kept: list[int] = []
    for index, point in enumerate(points):
        while len(kept) > 1:
            (x0, y0), (x1, y1) = points[kept[-2]], points[kept[-1]]
            if (y1 - y0) * (point[0] - x1) > (point[1] - y1) * (x1 - x0):
                break
            kept.pop()
        kept.append(index)
    counts = [(CANARIES - missed, CANARIES - rejected) for missed, rejected in points[kept]]
    made = [
        Guessed(canaries=2 * CANARIES, guesses=int(right + wrong), correct=int(right))
        for right, wrong in counts
        if right + wrong
    ]
    return made, 0.05 / len(kept)
