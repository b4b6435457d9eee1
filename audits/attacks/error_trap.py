"""Trap weights for logistic regression on fresh batches: a model that is wrong about very few.

Sums of different batches cannot be subtracted from one another. But where a model is sure, who is
predicted rightly contributes nothing, so a good model with huge weights leaves the few that it has
wrong; where that is one patient, the quotient of the sum is the record. Each round takes another
good model, fitted to another draw of reference patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.audits.attacks.threshold_trap import SATURATION, Ask


def read_by_errors(
    ask: Ask,
    *,
    rounds: int,
    reference: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Guess records ``[guesses, columns]`` from ``rounds`` sums, one from each.

    ``reference`` and ``outcomes`` are other patients' records, of both outcomes.
    """
    from sklearn.linear_model import LogisticRegression

    guesses: list[NDArray[np.float64]] = []
    for _ in range(rounds):
        drawn = _both_outcomes(outcomes, generator)
        fitted = LogisticRegression(C=100.0, max_iter=2000)
        fitted.fit(reference[drawn], outcomes[drawn])
        flat = np.append(fitted.coef_[0], fitted.intercept_)
        total = ask(flat * (SATURATION / np.linalg.norm(flat)))
        if total[-1] != 0:
            guesses.append(total[:-1] / total[-1])
    return np.array(guesses).reshape(-1, reference.shape[1])


def _both_outcomes(
    outcomes: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """A bootstrap sample within each outcome."""
    groups = [np.flatnonzero(outcomes == value) for value in (0.0, 1.0)]
    return np.concatenate([generator.choice(group, len(group)) for group in groups])
