"""Epsilon from events alone, by accountants of different makers and methods.

PLD is dp_accounting's; the PRV interval is Opacus's; RDP is the smaller of both makers'. They must
agree as :mod:`fedward.common.privacy.cross_check` says. Above 50 no guarantee is given, and there
are two bounds only: ``epsilon_of``, and dp_accounting's RDP.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fedward.audits.books.result import RecomputedEpsilon
from fedward.common.errors import PrivacyRefusal
from fedward.common.ledger.entries import ReleaseReserved
from fedward.common.privacy.accounting import (
    EPSILON_CAP,
    cross_checked_epsilon,
    epsilon_of,
    rdp_epsilon,
    sampled_sums,
)
from fedward.common.privacy.cohort_spending import (
    StudyCharges,
    cohort_accounting_delta,
    events_by_patients,
)
from fedward.common.privacy.cross_check import OpacusOpinion
from fedward.common.privacy.events import GaussianEvent, grouped
from fedward.common.privacy.gaussian_mechanism import merged
from fedward.common.privacy.sum_plan import PART_OF, Part

MOST_SAMPLED_EVENTS = 20
"""Distinct sampled events up to which PRV is asked; it takes minutes beyond fifty."""
MOST_SAMPLED_SUMS = 1_000_000
"""Sums over samples, in all, up to which PRV is asked."""
TOLERANCE = 1e-3
"""Relative difference that two versions of an accountant may have."""
ROUNDING = 2e-4
PARTS: tuple[Part, ...] = ("training", "held_out")


def agrees(claimed: float, recomputed: float) -> bool:
    """Whether a written epsilon is the recomputed one, up to rounding and versions."""
    return math.isclose(claimed, recomputed, rel_tol=TOLERANCE, abs_tol=ROUNDING)


def is_above(spent: float, cap: float) -> bool:
    """Whether an epsilon passes a cap by more than rounding."""
    return not spent <= cap + ROUNDING


def events_of(
    entries: Iterable[ReleaseReserved], *, alone: bool, part: Part | None = None
) -> tuple[GaussianEvent, ...] | None:
    """The events of releases, equal ones grouped; None if one of them had no noise."""
    events = []
    for entry in entries:
        if part is not None and PART_OF[entry.sum] != part:
            continue
        charged = entry.event_alone if alone else entry.event
        if charged is None:
            return None
        events.append(charged.event())
    return grouped(events)


def charges_of(
    entries: Iterable[ReleaseReserved], *, alone: bool
) -> tuple[StudyCharges, ...] | None:
    """The same by study and part, for patients who are in several; None likewise."""
    by_study: dict[tuple[str, float], list[ReleaseReserved]] = {}
    for entry in entries:
        by_study.setdefault((entry.study_digest, entry.holdout), []).append(entry)
    charges = []
    for (digest, holdout), of_study in by_study.items():
        training = events_of(of_study, alone=alone, part="training")
        held_out = events_of(of_study, alone=alone, part="held_out")
        if training is None or held_out is None:
            return None
        charges.append(
            StudyCharges(study_digest=digest, holdout=holdout, training=training, held_out=held_out)
        )
    return tuple(charges)


def worst_events(
    studies: Collection[StudyCharges], *, delta: float
) -> tuple[tuple[GaussianEvent, ...], float]:
    """The releases over the worst patients, and their epsilon at the cohort's ``delta`` by PLD."""
    ideal = cohort_accounting_delta(delta)
    worst = max(
        events_by_patients(studies), key=lambda events: epsilon_of(events, delta=ideal), default=()
    )
    return worst, epsilon_of(worst, delta=ideal)


@dataclass(frozen=True, kw_only=True)
class OpacusQuestion:
    """Merged events that PRV is to be asked about, and their ``epsilon`` by PLD."""

    events: tuple[GaussianEvent, ...]
    delta: float
    epsilon: float


def question_of(events: Iterable[GaussianEvent] | None, *, delta: float) -> OpacusQuestion | None:
    """What :func:`recomputed` asks Opacus, so that it can be asked elsewhere; None if nothing.

    Raises :class:`PrivacyRefusal` if delta is out of range.
    """
    key = () if events is None else merged(events)
    epsilon = epsilon_of(key, delta=delta)
    if not key or epsilon > EPSILON_CAP or _sampled(key) > MOST_SAMPLED_EVENTS:
        return None
    if sampled_sums(key) > MOST_SAMPLED_SUMS:
        return None
    return OpacusQuestion(events=key, delta=delta, epsilon=epsilon)


def recomputed(
    events: Iterable[GaussianEvent] | None, *, delta: float, opinion: OpacusOpinion | None = None
) -> RecomputedEpsilon:
    """Epsilon by all accountants that can say something; ``opinion`` is Opacus's, if it was asked.

    Raises :class:`PrivacyRefusal` if they disagree, one of them fails, or delta is out of range.
    """
    if events is None:
        return RecomputedEpsilon(epsilon=None, note="released without noise")
    key = merged(events)
    if question_of(key, delta=delta) is not None:
        checked = cross_checked_epsilon(key, delta=delta, opinion=opinion)
        return RecomputedEpsilon(
            epsilon=checked.epsilon,
            prv_low=checked.prv_low,
            prv_high=checked.prv_high,
            rdp=checked.rdp,
        )
    if not key:
        return RecomputedEpsilon(epsilon=0.0)
    epsilon = epsilon_of(key, delta=delta)
    rdp = rdp_epsilon(key, delta=delta)
    if not epsilon <= rdp + ROUNDING:
        raise PrivacyRefusal(
            f"The accountants disagree: PLD says epsilon {epsilon:g}, RDP at most {rdp:g}."
        )
    note = (
        f"above {EPSILON_CAP:g}, where no guarantee is given: upper bounds without PRV"
        if epsilon > EPSILON_CAP
        else f"PRV is not asked about {sampled_sums(key)} sums over samples, "
        f"{_sampled(key)} of them different"
    )
    return RecomputedEpsilon(epsilon=epsilon, rdp=rdp, note=note)


def _sampled(events: Iterable[GaussianEvent]) -> int:
    return sum(event.sampling_rate < 1 for event in events)
