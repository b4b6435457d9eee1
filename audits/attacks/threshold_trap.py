"""Trap weights for logistic regression on full batches: sums on both sides of one patient.

With weights ``s v`` and bias ``-s c`` for a huge ``s``, the model says 1 to whoever has
``v.x > c`` and 0 to the others, whatever they are. Two sums at neighbouring thresholds ``c`` then
differ by the patients between them alone, ``sum of weight (x, 1)``; where that is one patient, the
quotient is the record. Between thresholds, the mean of a group always splits it, so that every
further query reads about one more record (the idea of Fowl et al. 2022, "Robbing the Fed", whose
bins are neurons; here they are rounds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SATURATION = 1e6
"""Logits are this times the distance to the threshold: all but a few round to 0 or 1."""
NOBODY = 1e-6
"""A group's weight that is rounding: at least one row of some patient weighs more."""
ALONE = 1e-3
"""A group is taken for one patient if its weight is so near to one patient's."""

Ask = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Gives the gradient sum at flat parameters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Patients between two thresholds, as the difference of the sums there."""

    low: float
    high: float
    difference: NDArray[np.float64]
    whole: bool = False

    @property
    def record(self) -> NDArray[np.float64]:
        """Their weighted mean; zeros if there is nobody."""
        if self.empty:
            return np.zeros(len(self.difference) - 1)
        return np.asarray(self.difference[:-1] / self.difference[-1], dtype=np.float64)

    @property
    def empty(self) -> bool:
        """Whether nobody is in it, as far as rounding tells."""
        return bool(abs(self.difference[-1]) < NOBODY)

    def patients(self, clip: float) -> float:
        """How many there are, if all are alike."""
        norm = float(np.sqrt(self.record @ self.record + 1.0))
        return float(self.difference[-1] / min(1.0, clip / norm))


def read_by_thresholds(
    ask: Ask,
    *,
    rounds: int,
    clip: float,
    reference: NDArray[np.float64],
    patients: float,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Guess records ``[guesses, columns]`` from ``rounds`` sums, at least 3.

    ``reference`` are other patients' records ``[n, columns]``, by whom the first threshold is
    chosen: so that about as many of the ``patients`` lie above as can be told apart.
    """
    drawn: NDArray[np.float64] = generator.standard_normal((reference.shape[1],))
    direction = drawn / float(np.linalg.norm(drawn))
    limit = float(np.abs(direction).sum()) + 1.0

    def at(threshold: float) -> NDArray[np.float64]:
        return ask(SATURATION * np.append(direction, -threshold))

    nobody = at(limit)
    groups = [_Group(low=-limit, high=limit, difference=at(-limit) - nobody)]
    below = 1 - min(1.0, (rounds - 3) / max(patients, 1.0))
    first = float(np.quantile(reference @ direction, below)) if below > 0 else None
    for _ in range(rounds - 2):
        group = _next(groups, clip)
        middle = float(direction @ group.record) if first is None else first
        first = None
        if not group.low < middle < group.high:
            middle = (group.low + group.high) / 2
        above = at(middle) - nobody
        above -= _above(groups, group)
        groups.remove(group)
        groups += _halves(group, middle, above)
    return np.array([group.record for group in groups if not group.empty])


def _next(groups: list[_Group], clip: float) -> _Group:
    """The smallest group of more than one patient.

    Where none is left, the largest that weighs less than one, for a row of a patient who has
    several; then the widest.
    """
    open_ = [(g.patients(clip), g) for g in groups if not (g.whole or g.empty)]
    several = [pair for pair in open_ if pair[0] > 1 + ALONE]
    if several:
        return min(several, key=lambda pair: pair[0])[1]
    parts = [pair for pair in open_ if pair[0] < 1 - ALONE]
    if parts:
        return max(parts, key=lambda pair: pair[0])[1]
    return max(groups, key=lambda group: group.high - group.low)


def _above(groups: list[_Group], group: _Group) -> NDArray[np.float64]:
    """What lies above a group, as the sum at its upper end has it."""
    others = [other.difference for other in groups if other.low >= group.high]
    return np.sum(others, axis=0) if others else np.zeros(len(group.difference))


def _halves(group: _Group, middle: float, above: NDArray[np.float64]) -> list[_Group]:
    below = group.difference - above
    total = abs(group.difference[-1])
    # Equal records, or rows of one patient: they stay together, and the quotient is right.
    whole = min(abs(above[-1]), abs(below[-1])) < 1e-6 * total
    return [
        _Group(low=group.low, high=middle, difference=below, whole=whole),
        _Group(low=middle, high=group.high, difference=above, whole=whole),
    ]
