"""Comparison of a PLD epsilon with accountants of other makers and other methods.

Opacus's PRV accountant (Gopi, Lee, Wutschitz 2021, "Numerical Composition of Differential
Privacy") yields an interval around the truth; Opacus's RDP (Mironov 2017; Mironov, Talwar, Zhang
2019) an upper bound. Opacus's RDP tries orders up to 63 only, so that it never falls below about
0.1; dp_accounting's RDP with orders up to 1024 is therefore a second bound, and the smaller of
the two counts. It comes from the same makers as the PLD, but by another method. Where nothing is
sampled, the closed form of Balle and Wang 2018 is a fourth and exact opinion.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import gaussian_epsilon

PRV_ERROR = 0.01
"""Half-width of the PRV interval; narrower for small epsilon, down to a tenth of this."""
RELATIVE_TOLERANCE = 0.01
"""Float error allowed around the PRV interval, or one half-width if that is larger."""
ROUNDING = 2e-4
"""PLD is rounded up to 1e-4 and discretised to 1e-4: it may pass an exact bound by that much."""


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """The PRV interval and the smaller RDP bound that a PLD epsilon was compared with."""

    prv_low: float
    prv_high: float
    rdp: float


@dataclass(frozen=True, kw_only=True)
class OpacusOpinion:
    """The upper end of Opacus's PRV interval, and Opacus's RDP."""

    prv_high: float
    rdp: float


def opacus_opinion(
    events: tuple[GaussianEvent, ...], *, delta: float, epsilon: float
) -> OpacusOpinion:
    """What Opacus says of merged ``events``; ``epsilon`` sets how wide its PRV interval is.

    Imports Opacus, and thereby torch, on the first call. Raises :class:`PrivacyRefusal` if it
    fails.
    """
    try:
        return _opacus(events, delta=delta, error=_half_width(epsilon))
    except Exception as failure:  # any failure of a foreign accountant must refuse
        raise PrivacyRefusal(
            f"An accountant failed while checking epsilon {epsilon:g} ({failure}), "
            "so no guarantee is given."
        ) from failure


def checked_against(
    events: tuple[GaussianEvent, ...],
    *,
    delta: float,
    epsilon: float,
    second_rdp: float,
    opinion: OpacusOpinion | None = None,
) -> CrossCheck:
    """Recompute ``epsilon`` of merged ``events``, or raise :class:`PrivacyRefusal`.

    ``second_rdp`` is dp_accounting's RDP; ``opinion`` what :func:`opacus_opinion` said of the same,
    which is asked if it is None. The PRV interval is widened by 1 % or one half-width.
    """
    error = _half_width(epsilon)
    if opinion is None:
        opinion = opacus_opinion(events, delta=delta, epsilon=epsilon)
    high, first_rdp = opinion.prv_high, opinion.rdp
    rdp = min(first_rdp, second_rdp)
    if not (math.isfinite(high) and math.isfinite(first_rdp) and math.isfinite(second_rdp)):
        raise PrivacyRefusal(
            f"An accountant returned no finite number while checking epsilon {epsilon:g}, "
            "so no guarantee is given."
        )
    low = high - 2 * error
    slack = max(error, RELATIVE_TOLERANCE * epsilon)
    if not low - slack <= epsilon <= high + slack:
        raise PrivacyRefusal(
            f"The accountants disagree: PLD says epsilon {epsilon:g}, PRV {low:g} to {high:g}, "
            "so no guarantee is given."
        )
    if not epsilon <= rdp + ROUNDING:
        raise PrivacyRefusal(
            f"The accountants disagree: PLD says epsilon {epsilon:g}, RDP at most {rdp:g}, "
            "so no guarantee is given."
        )
    _check_exact(events, delta=delta, epsilon=epsilon)
    return CrossCheck(prv_low=low, prv_high=high, rdp=rdp)


def _check_exact(events: tuple[GaussianEvent, ...], *, delta: float, epsilon: float) -> None:
    if len(events) != 1 or events[0].sampling_rate != 1 or events[0].count != 1:
        return
    exact = gaussian_epsilon(noise_multiplier=events[0].noise_multiplier, delta=delta)
    if not exact <= epsilon <= exact * 1.0001 + ROUNDING:
        raise PrivacyRefusal(
            f"The accountants disagree: PLD says epsilon {epsilon:g}, the exact formula "
            f"{exact:g}, so no guarantee is given."
        )


def _half_width(epsilon: float) -> float:
    return min(PRV_ERROR, max(epsilon / 4, PRV_ERROR / 10))


def _opacus(events: tuple[GaussianEvent, ...], *, delta: float, error: float) -> OpacusOpinion:
    from opacus.accountants import PRVAccountant, RDPAccountant

    results = []
    with warnings.catch_warnings():
        # At rate 1 PRV takes log(0) on purpose; RDP notes that its best order is the last one.
        warnings.simplefilter("ignore")
        for make, options in ((PRVAccountant, {"eps_error": error}), (RDPAccountant, {})):
            accountant: Any = make()
            accountant.history = [(e.noise_multiplier, e.sampling_rate, e.count) for e in events]
            results.append(float(accountant.get_epsilon(delta, **options)))
    return OpacusOpinion(prv_high=results[0], rdp=results[1])
