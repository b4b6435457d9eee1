"""Whether releases stay within a cap, in microseconds once their like was found to.

Composing the privacy loss of dozens of sampled releases takes seconds, too long before each round.
But epsilon grows with what is released: whatever another set of releases covers costs no more than
that set (:mod:`fedward.common.privacy.dominance`). So an upper bound of one large set, computed
once, answers for all sets below it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fedward.common.privacy.accounting import RESOLUTION, epsilon_of, raw_epsilon
from fedward.common.privacy.dominance import Spending
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import merged

Events = tuple[GaussianEvent, ...]
ROUGH_TRIES = 12
EXACT_TRIES = 5
"""How often a look ahead computes at most, for each group of patients."""
_NEARLY = 0.02


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """Releases over the same patients, and what is expected to be added to them.

    ``now`` is what is to be decided; ``ahead(n)`` also holds the next n releases that are expected,
    of which there are ``most``. They only guide what is computed, never what is allowed.
    """

    now: Events
    ahead: Callable[[int], Events]
    most: int


class Allowance:
    """Decides whether releases stay within a cap, and remembers what was found to. Thread-safe.

    What is remembered are upper bounds of epsilon: facts about noise, whoever released it, so that
    one allowance serves all vaults of a process. ``remembered`` is how many, for each delta.
    """

    def __init__(self, *, remembered: int = 256) -> None:
        self._remembered = remembered
        self._bounds: dict[float, list[tuple[Spending, float]]] = {}
        self._memory = threading.Lock()
        self._computing = threading.Lock()

    def excess(self, prospects: Iterable[Prospect], *, cap: float, delta: float) -> float | None:
        """None if no ``now`` costs more than ``cap`` at ``delta``; else the largest epsilon.

        ``prospects`` are those of the groups of patients for whom one cap holds, and whose releases
        ahead are numbered alike. The epsilon is
        :func:`~fedward.common.privacy.accounting.epsilon_of`. On a first call it is found out, too,
        how much further it will be None, so that later calls need not compute.

        Raises :class:`PrivacyRefusal` for a delta that has no accounting.
        """
        epsilon_of((), delta=delta)  # refuses such a delta
        open_ones = self._open(prospects, cap=cap, delta=delta)
        if not open_ones:
            return None
        with self._computing:  # by one thread; the others then find its result
            return self._computed(open_ones, cap=cap, delta=delta)

    def look_ahead(self, prospects: Iterable[Prospect], *, cap: float, delta: float) -> None:
        """Find out how far the releases ahead stay within ``cap``, for calls of :meth:`excess`.

        Computes at most ``ROUGH_TRIES`` rough bounds and ``EXACT_TRIES`` epsilons for each group,
        and two of each more; what it leaves open is computed when it is asked for.
        """
        with self._computing:
            self._look_ahead(list(prospects), cap=cap, delta=delta)

    def _computed(self, prospects: Sequence[Prospect], *, cap: float, delta: float) -> float | None:
        # Who has room for all that is ahead need not be looked at as it is now.
        open_ones = self._open(prospects, cap=cap, delta=delta)
        for prospect in open_ones:
            self._fits_roughly(prospect.ahead(prospect.most), cap=cap, delta=delta)
        open_ones = self._open(open_ones, cap=cap, delta=delta)
        above = [
            epsilon_of(prospect.now, delta=delta)
            for prospect in open_ones
            if not self._fits(prospect.now, cap=cap, delta=delta)
        ]
        if above:
            return max(above)
        self._look_ahead(open_ones, cap=cap, delta=delta)
        return None

    def _look_ahead(self, prospects: Iterable[Prospect], *, cap: float, delta: float) -> None:
        def cost(prospect: Prospect) -> float:
            return _rough_bound(prospect.ahead(prospect.most), delta)

        # One group above the cap ends it for all, so the costliest says how far to look.
        furthest: int | None = None
        for prospect in sorted(prospects, key=cost, reverse=True):
            most = prospect.most if furthest is None else min(prospect.most, furthest)
            furthest = self._furthest(prospect, most, cap=cap, delta=delta)

    def _furthest(self, prospect: Prospect, most: int, *, cap: float, delta: float) -> int:
        """About the largest n up to ``most`` whose releases ahead fit, which are remembered."""

        def exactly(n: int) -> float:
            events = prospect.ahead(n)
            epsilon = epsilon_of(events, delta=delta)
            self._remember_within(cap, events, epsilon, delta=delta)
            return epsilon

        def roughly(n: int) -> float:
            # Not rounded, to tell how fast it grows where one release costs less than a step.
            return _rough_epsilon(merged(prospect.ahead(n)), delta)

        whole = prospect.ahead(most)
        if self._is_covered(Spending(whole), cap=cap, delta=delta):
            return most
        if self._fits_roughly(whole, cap=cap, delta=delta):
            return most
        # The rough bound is some thousandths above.
        if roughly(most) <= (1 + _NEARLY) * cap + _NEARLY and exactly(most) <= cap:
            return most
        low, slope = _furthest_within(
            cap, roughly, low=0, high=most, at_high=roughly(most), tries=ROUGH_TRIES
        )
        self._fits_roughly(prospect.ahead(low), cap=cap, delta=delta)
        low, _ = _furthest_within(cap, exactly, low=low, high=most, slope=slope, tries=EXACT_TRIES)
        return low

    def _open(self, prospects: Iterable[Prospect], *, cap: float, delta: float) -> list[Prospect]:
        return [
            prospect
            for prospect in prospects
            if not self._is_covered(Spending(prospect.now), cap=cap, delta=delta)
        ]

    def _is_covered(self, spending: Spending, *, cap: float, delta: float) -> bool:
        with self._memory:
            known = tuple(self._bounds.get(delta, ()))
        return any(bound <= cap and other.covers(spending) for other, bound in known)

    def _fits(self, events: Events, *, cap: float, delta: float) -> bool:
        if self._fits_roughly(events, cap=cap, delta=delta):
            return True
        return self._remember_within(cap, events, epsilon_of(events, delta=delta), delta=delta)

    def _fits_roughly(self, events: Events, *, cap: float, delta: float) -> bool:
        return self._remember_within(cap, events, _rough_bound(events, delta), delta=delta)

    def _remember_within(self, cap: float, events: Events, bound: float, *, delta: float) -> bool:
        if not bound <= cap:
            return False
        found = Spending(events)
        with self._memory:
            # What the new one says as well is not kept: a run adds some, and leaves one.
            others = [
                (spending, other)
                for spending, other in self._bounds.get(delta, [])
                if not (bound <= other and found.covers(spending))
            ]
            self._bounds[delta] = [(found, bound), *others][: self._remembered]
        return True


def _rough_bound(events: Events, delta: float) -> float:
    """Some thousandths above ``epsilon_of``, rounded up alike, and ten times faster."""
    rough = _rough_epsilon(merged(events), delta)
    return math.ceil(rough * RESOLUTION) / RESOLUTION if math.isfinite(rough) else math.inf


@lru_cache(maxsize=1024)
def _rough_epsilon(events: Events, delta: float) -> float:
    return raw_epsilon(events, delta=delta, coarse=True)


def _furthest_within(
    cap: float,
    bound: Callable[[int], float],
    *,
    low: int,
    high: int,
    tries: int,
    at_high: float = math.inf,
    slope: float = math.nan,
) -> tuple[int, float]:
    """The largest n found with ``bound(n) <= cap``, and about how fast the bound grows there.

    ``bound`` grows, and is called ``tries`` times at most. It is above the cap at ``high``, where
    it is ``at_high`` if that is known. ``slope`` is the guess of how fast it grows. Where it is
    above the cap at ``low`` as well, that is what is found.
    """
    at_low = bound(low)
    for turn in range(tries - 1):
        if math.isfinite(at_high) and high > low:
            slope = (at_high - at_low) / (high - low)
        if at_low > cap or high - low <= 1:
            break
        # Where a straight line would cross the cap, and now and then halfway. A bound that was
        # rounded up is half a step too high.
        aim = low + (cap - at_low + 0.5 / RESOLUTION) / slope if slope > 0 else math.inf
        if turn % 3 == 2 or not math.isfinite(aim):
            aim = (low + high) / 2
        n = min(max(round(aim), low + 1), high - 1)
        found = bound(n)
        if found <= cap:
            low, at_low = n, found
        else:
            high, at_high = n, found
    return low, slope
