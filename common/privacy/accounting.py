"""Epsilon of executed events: dp_accounting's PLD is the number of record, cross-checked.

The privacy loss distribution is discretised pessimistically by connecting the dots (Doroshenko,
Ghazi, Kamath, Kumar, Manurangsi 2022; after Koskela, Jälkö, Honkela 2020) with interval 1e-4, for
neighbours that differ by adding or removing one patient. Events may be chosen adaptively in the
data released so far, but their number, noise and rates must be fixed in advance. A budget that is
adapted on the way (fully adaptive composition) is covered for sums over all patients alone, see
:mod:`fedward.common.privacy.budget`. The bound is pessimistic in exact arithmetic; the rounding of
float64 FFTs is not verified by intervals, hence the cross-check.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.cross_check import OpacusOpinion, checked_against
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import gaussian_epsilon, merged
from fedward.common.privacy.single_releases import SingleReleases

EPSILON_CAP = 50.0
"""No guarantee above this is computed or given: e^50 means nothing, and accountants overflow."""
SMALLEST_DELTA = 5e-11
"""Below it the float64 error of the accountants is no longer small."""
RESOLUTION = 10_000
"""Epsilons are rounded up to a multiple of 1 / RESOLUTION."""

_FINE = 1e-4
_COARSE = 1e-3
# PLD would cost seconds to minutes for a number that means nothing where nothing is sampled and the
# exact epsilon is above the first, or something is and the Rényi bound is above the second.
_UNSAMPLED_LIMIT = 55.0
_RDP_LIMIT = 150.0
MOST_SAMPLED_SUMS = 5_000_000
"""Beyond so many, PLD would take minutes or never end; the smaller of two other bounds is given."""
# Integer orders have a finite sum (Mironov, Talwar, Zhang 2019) and always converge; the few
# fractions matter above epsilon 30 or so, and are left out by the accountant where they do not.
_ORDERS = (1.25, 1.5, 1.75, *range(2, 65), 80, 96, 128, 192, 256, 384, 512, 768, 1024)
_FEW_ORDERS = (2, 3, 4, 6, 8, 12, 16, 32)
_SINGLE = SingleReleases()


@dataclass(frozen=True, kw_only=True)
class AccountedEpsilon:
    """``epsilon`` is PLD's, rounded up; the rest are the independent results that agreed with it.

    The PRV interval (Gopi, Lee, Wutschitz 2021) contains the true value; None where no event was.
    """

    epsilon: float
    prv_low: float | None
    prv_high: float | None
    rdp: float


def epsilon_of(events: Iterable[GaussianEvent], *, delta: float) -> float:
    """Epsilon of all ``events`` together by PLD, rounded up to 1e-4; 0 for no events. Cached.

    Where nothing is sampled and epsilon is above 55, the exact Gaussian formula is returned
    instead; where something is, and the Rényi bound is above 150 or there are more than 5,000,000
    such sums, the smaller of that bound and the exact formula without the gain of sampling. These
    are upper bounds too, the last no longer tight. So any events have a number; only a delta
    outside [5e-11, 1) is refused here.
    """
    return _epsilon(merged(events), _valid_delta(delta))


def displayed_epsilon(events: Iterable[GaussianEvent], *, delta: float) -> float:
    """Epsilon for a progress display, in a few milliseconds per call. Not for the record.

    Exact (Balle and Wang) if nothing is sampled, else PLD with interval 1e-3 (1e-4 below 0.5), some
    thousandths above :func:`epsilon_of`.
    """
    key, delta = merged(events), _valid_delta(delta)
    if len(key) == 1 and key[0].sampling_rate == 1:
        exact = gaussian_epsilon(noise_multiplier=key[0].noise_multiplier, delta=delta)
        return _rounded_up(exact)
    epsilon = raw_epsilon(key, delta=delta, coarse=True)
    # A small epsilon has a short distribution, so that the fine interval is quick, and matters.
    return _rounded_up(epsilon) if epsilon > 0.5 else _epsilon(key, delta)


def cross_checked_epsilon(
    events: Iterable[GaussianEvent], *, delta: float, opinion: OpacusOpinion | None = None
) -> AccountedEpsilon:
    """Epsilon by PLD, after Opacus's PRV and RDP confirmed it. Cached. Slow on the first call.

    ``opinion`` is what Opacus says of just these, merged, if it was asked before.
    Raises :class:`PrivacyRefusal` if it is above 50, if an accountant fails, or if PLD lies
    outside the PRV interval or above RDP (tolerances: :mod:`fedward.common.privacy.cross_check`).
    """
    key, delta = merged(events), _valid_delta(delta)
    return _cross_checked(key, delta) if opinion is None else _checked(key, delta, opinion)


def rdp_epsilon(events: Iterable[GaussianEvent], *, delta: float) -> float:
    """An upper bound on epsilon by dp_accounting's RDP, with orders up to 1024. Cached."""
    return _rdp_epsilon(merged(events), _valid_delta(delta))


def raw_epsilon(
    merged_events: tuple[GaussianEvent, ...], *, delta: float, coarse: bool = False
) -> float:
    """Epsilon before rounding, for solvers; ``coarse`` uses interval 1e-3, ten times faster."""
    if not merged_events:
        return 0.0
    bound = _bound_instead_of_pld(merged_events, delta)
    if bound is not None:
        return bound
    interval = _COARSE if coarse else _FINE
    composed: Any = None
    for event in merged_events:
        loss = _SINGLE.of(
            event.noise_multiplier, sampling_rate=event.sampling_rate, interval=interval
        )
        loss = loss.self_compose(event.count) if event.count > 1 else loss
        composed = loss if composed is None else composed.compose(loss)
    return float(composed.get_epsilon_for_delta(delta))


@lru_cache(maxsize=4096)
def _epsilon(events: tuple[GaussianEvent, ...], delta: float) -> float:
    return _rounded_up(raw_epsilon(events, delta=delta))


@lru_cache(maxsize=512)
def _cross_checked(events: tuple[GaussianEvent, ...], delta: float) -> AccountedEpsilon:
    return _checked(events, delta, None)


def _checked(
    events: tuple[GaussianEvent, ...], delta: float, opinion: OpacusOpinion | None
) -> AccountedEpsilon:
    if not events:
        return AccountedEpsilon(epsilon=0.0, prv_low=None, prv_high=None, rdp=0.0)
    try:
        epsilon = _epsilon(events, delta)
        second_rdp = _rdp_epsilon(events, delta)
    except (ArithmeticError, ValueError, MemoryError, RuntimeError) as error:
        raise PrivacyRefusal(
            f"The PLD accountant failed, so no epsilon is given: {error}."
        ) from error
    if not epsilon <= EPSILON_CAP:
        raise PrivacyRefusal(
            f"Epsilon would be {epsilon:g}, above {EPSILON_CAP:g}, where no guarantee is given; "
            "add noise or release less often."
        )
    checked = checked_against(
        events, delta=delta, epsilon=epsilon, second_rdp=second_rdp, opinion=opinion
    )
    return AccountedEpsilon(
        epsilon=epsilon, prv_low=checked.prv_low, prv_high=checked.prv_high, rdp=checked.rdp
    )


def _bound_instead_of_pld(events: tuple[GaussianEvent, ...], delta: float) -> float | None:
    """An upper bound where PLD would cost too much: the exact Gaussian one, or RDP if smaller."""
    precision = sum(event.count / event.noise_multiplier**2 for event in events)
    unsampled = gaussian_epsilon(noise_multiplier=1 / math.sqrt(precision), delta=delta)
    if sampled_sums(events) > MOST_SAMPLED_SUMS:
        return min(unsampled, _rdp_epsilon(events, delta))
    if unsampled <= _UNSAMPLED_LIMIT:
        return None
    if all(event.sampling_rate == 1 for event in events):
        return unsampled
    # A bound by some of the orders is one by all of them, and says enough if it is low.
    if min(unsampled, _rdp_epsilon(events, delta, _FEW_ORDERS)) <= _RDP_LIMIT:
        return None
    bound = min(unsampled, _rdp_epsilon(events, delta))
    return bound if bound > _RDP_LIMIT else None


def sampled_sums(events: Iterable[GaussianEvent]) -> int:
    """How many sums over Poisson samples there are in all."""
    return sum(event.count for event in events if event.sampling_rate < 1)


@lru_cache(maxsize=512)
def _rdp_epsilon(
    events: tuple[GaussianEvent, ...], delta: float, orders: tuple[float, ...] = _ORDERS
) -> float:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        accountant = RdpAccountant(orders)
        for event in events:
            release = dp_accounting.GaussianDpEvent(event.noise_multiplier)
            if event.sampling_rate < 1:
                release = dp_accounting.PoissonSampledDpEvent(event.sampling_rate, release)
            accountant.compose(release, event.count)
        return float(accountant.get_epsilon(delta))
    finally:
        absl.setLevel(level)


def _rounded_up(epsilon: float) -> float:
    return math.ceil(epsilon * RESOLUTION) / RESOLUTION if math.isfinite(epsilon) else math.inf


def _valid_delta(delta: float) -> float:
    if not SMALLEST_DELTA <= delta < 1:
        raise PrivacyRefusal(
            f"delta is {delta:g}, but epsilon is computed only for deltas from "
            f"{SMALLEST_DELTA:g} to below 1."
        )
    return float(delta)
