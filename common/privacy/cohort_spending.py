"""What any one patient of a cohort has spent over several studies.

In each study a patient is in one part, training or held out, and the sums of the other part say
nothing about it. Nothing is assumed about how parts of different studies overlap: each site may
divide its patients anew for each study, so any of the 2^S ways to be in a part of each of S studies
may be some patient's. What one study did to a patient is all in one part, over all its runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.dominance import Spending
from fedward.common.privacy.events import GaussianEvent, grouped
from fedward.common.privacy.sum_plan import Part

MOST_DIVIDED = 4
"""Studies for which either part is tried, where neither is known to cost less: 16 ways."""
Division = Mapping[str, tuple[Part, ...]]
"""The parts to be composed of each study, by digest."""

_SAMPLER_GAP = 1e-24


@dataclass(frozen=True, kw_only=True)
class StudyCharges:
    """What one study released over a cohort, by the part of the patients that it was over.

    ``holdout`` is the share of the patients that the study holds out, 0 to 1; it is told, and
    decides nothing.
    """

    study_digest: str
    holdout: float
    training: tuple[GaussianEvent, ...] = ()
    held_out: tuple[GaussianEvent, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.holdout <= 1:
            raise ValueError(f"holdout must be in [0, 1]: {self.holdout}")


def cohort_accounting_delta(delta: float) -> float:
    """The part of a cohort's ``delta`` that is left for the ideal mechanisms.

    Noise that differs from the ideal by t in total variation makes (epsilon, delta) of an
    (epsilon, delta - (1 + e^epsilon) t) guarantee (Canonne, Kamath, Steinke 2020, section 2). With
    t = 2^-200 for each number drawn, and epsilon at most 50, the gap is below 3.3e-39 for each, so
    that 1e-24 pays for 3e14 numbers: 10,000 releases of 10^7 numbers over 1,000 sites are 10^14.
    Where float64 cannot tell 1e-24 from nothing, one step of float64, which is more, is taken off.
    """
    return math.nextafter(delta - _SAMPLER_GAP, 0.0)


def divisions(studies: Iterable[StudyCharges]) -> tuple[Division, ...]:
    """Ways to be in a part of each study, at most 16; whatever a patient spent, one covers it.

    Of a study of which one part covers the other (:meth:`Spending.covers`), that part is taken.
    Of the first :data:`MOST_DIVIDED` studies where neither does, in the given order, each part is
    tried with each of the others'. Of any further one both parts are composed, though nobody is in
    both: an upper bound, for each further study tried would double what must be computed before a
    release.
    """
    choices: dict[str, tuple[tuple[Part, ...], ...]] = {}
    divided = 0
    for study in _joined(studies):
        training, held_out = Spending(study.training), Spending(study.held_out)
        if training.covers(held_out):
            choices[study.study_digest] = (("training",),)
        elif held_out.covers(training):
            choices[study.study_digest] = (("held_out",),)
        elif divided < MOST_DIVIDED:
            divided += 1
            choices[study.study_digest] = (("training",), ("held_out",))
        else:
            choices[study.study_digest] = (("training", "held_out"),)
    return tuple(dict(zip(choices, chosen, strict=True)) for chosen in product(*choices.values()))


def divided_events(
    division: Division, studies: Iterable[StudyCharges]
) -> tuple[GaussianEvent, ...]:
    """The releases of the parts that are taken, equal ones grouped."""
    return grouped(
        event
        for study in studies
        for part in division[study.study_digest]
        for event in (study.training if part == "training" else study.held_out)
    )


def events_by_patients(studies: Iterable[StudyCharges]) -> tuple[tuple[GaussianEvent, ...], ...]:
    """The releases over the patients of each of :func:`divisions`, equal ones grouped.

    For one study they are those of its two parts, or of that part alone which covers the other.
    """
    known = tuple(studies)
    return tuple(divided_events(division, known) for division in divisions(known))


def worst_patient_epsilon(studies: Iterable[StudyCharges], *, delta: float) -> float:
    """The largest epsilon of any patient at the cohort's ``delta``, rounded up to 1e-4; 0 if none.

    Exact in which parts count while at most :data:`MOST_DIVIDED` studies have parts that do not
    cover each other, as one study always is; else an upper bound.
    The sampler's gap is taken off ``delta`` here. PLD by
    :func:`~fedward.common.privacy.accounting.epsilon_of`: an upper bound for any events, not
    cross-checked. Raises :class:`PrivacyRefusal` for a delta outside (5e-11, 1).
    """
    ideal = cohort_accounting_delta(delta)
    return max(epsilon_of(events, delta=ideal) for events in events_by_patients(studies))


def _joined(studies: Iterable[StudyCharges]) -> Iterable[StudyCharges]:
    """Each study once, with all its charges, in the order of their first."""
    found: dict[str, StudyCharges] = {}
    for study in studies:
        known = found.get(study.study_digest)
        found[study.study_digest] = (
            study
            if known is None
            else replace(
                known,
                training=(*known.training, *study.training),
                held_out=(*known.held_out, *study.held_out),
            )
        )
    return found.values()
