"""The privacy plan of a study: which sums are released, how often, and with how much noise.

Everything that draws noise or charges a budget takes it from here, so that a noise level can never
stand beside a clip or a rate that it was not calibrated for.

A site's patients are in two disjoint parts, training and held out, and each has the study's whole
(epsilon, delta): adding or removing one patient changes the sums of one part only (parallel
composition; McSherry 2009, "Privacy Integrated Queries", theorem 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.planned_noise import planned_noise
from fedward.common.privacy.sum_plan import (
    COUNTS_CLIP,
    EVALUATION_CLIP,
    PART_OF,
    SCALER_CLIP,
    Part,
    SumKind,
    SumPlan,
    Trust,
    honest_sites,
)
from fedward.common.protocol.fields import MAX_SITES
from fedward.common.study.definition import Privacy, Scaling, Statistics, Study, Training

__all__ = [
    "COUNTS_CLIP",
    "DEFAULT_COORDINATES",
    "EVALUATION_CLIP",
    "PART_OF",
    "SCALER_CLIP",
    "Part",
    "PrivacyPlan",
    "SumKind",
    "SumPlan",
    "plan_for",
]
DEFAULT_COORDINATES = 2**32
"""Numbers per release that the sampler's gap is charged for unless said otherwise."""


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """The sums of one run and what they cost together, if all that is paid for is released.

    ``training_epsilon`` and ``held_out_epsilon`` are cross-checked and at most the study's; 0 for
    a part without sums. Those "alone" are what remains for a site if everyone else colludes with
    the coordinator; they are reported, not promised: upper bounds as
    :func:`~fedward.common.privacy.accounting.epsilon_of` gives them, which may be far above 50,
    neither capped nor cross-checked.
    All are at ``accounting_delta``: the study's ``delta`` less the gap of the noise sampler. Noise
    multipliers do not depend on ``sites``, so that a round may be repeated over fewer of them;
    share multipliers do.
    """

    scaler: SumPlan | None
    training: SumPlan
    evaluation: SumPlan | None
    site_evaluation: SumPlan | None
    counts: SumPlan | None
    delta: float
    accounting_delta: float
    trust: Trust
    sites: int
    colluding: int
    training_epsilon: float
    held_out_epsilon: float

    def of(self, kind: SumKind) -> SumPlan | None:
        """The plan of one kind of sum; None if the study does not plan it."""
        plans: dict[SumKind, SumPlan | None] = {
            "moments": self.scaler,
            "training": self.training,
            "evaluation": self.evaluation,
            "site_evaluation": self.site_evaluation,
            "counts": self.counts,
        }
        return plans[kind]

    def of_roster(self, kind: SumKind, *, sites: int) -> SumPlan | None:
        """The plan of one kind over another number of sites: only the share of each differs."""
        plan = self.of(kind)
        honest = honest_sites(kind, trust=self.trust, sites=sites, colluding=self.colluding)
        return None if plan is None else plan.shared_by(honest)

    @property
    def sums(self) -> dict[SumKind, SumPlan]:
        """The planned kinds of sums, in the order in which they are released."""
        plans = {kind: self.of(kind) for kind in PART_OF}
        return {kind: plan for kind, plan in plans.items() if plan is not None}

    def sums_of_part(self, part: Part) -> dict[SumKind, SumPlan]:
        """The planned kinds of sums over one part of the patients."""
        return {kind: plan for kind, plan in self.sums.items() if PART_OF[kind] == part}

    @property
    def epsilon(self) -> float:
        """For any one patient: it is in one part, so the larger of the two."""
        return max(self.training_epsilon, self.held_out_epsilon)

    @property
    def epsilon_alone(self) -> float:
        """For any one patient, if everyone else colludes: the larger of the two parts."""
        return max(self.training_epsilon_alone, self.held_out_epsilon_alone)

    @cached_property
    def training_epsilon_alone(self) -> float:
        """For a training patient, if everyone else colludes."""
        return epsilon_of(self.events_alone, delta=self.accounting_delta)

    @cached_property
    def held_out_epsilon_alone(self) -> float:
        """For a held-out patient, if everyone else colludes."""
        return epsilon_of(self.held_out_events_alone, delta=self.accounting_delta)

    def epsilon_of_part(self, part: Part) -> float:
        """For a patient of this part."""
        return self.training_epsilon if part == "training" else self.held_out_epsilon

    def epsilon_alone_of_part(self, part: Part) -> float:
        """For a patient of this part, if everyone else colludes."""
        return self.training_epsilon_alone if part == "training" else self.held_out_epsilon_alone

    @property
    def events(self) -> tuple[GaussianEvent, ...]:
        """All releases over training patients, at the noise of the sum."""
        return self._events("training")

    @property
    def events_alone(self) -> tuple[GaussianEvent, ...]:
        """All releases over training patients, at the noise of one site's own share."""
        return self._events_alone("training")

    @property
    def held_out_events(self) -> tuple[GaussianEvent, ...]:
        """All releases over held-out patients, at the noise of the sum."""
        return self._events("held_out")

    @property
    def held_out_events_alone(self) -> tuple[GaussianEvent, ...]:
        """All releases over held-out patients, at the noise of one site's own share."""
        return self._events_alone("held_out")

    def _events(self, part: Part) -> tuple[GaussianEvent, ...]:
        return tuple(plan.event(plan.count) for plan in self.sums_of_part(part).values())

    def _events_alone(self, part: Part) -> tuple[GaussianEvent, ...]:
        return tuple(plan.event_alone(plan.count) for plan in self.sums_of_part(part).values())


def plan_for(
    study: Study,
    *,
    sites: int,
    pooled: bool = False,
    coordinates: int = DEFAULT_COORDINATES,
    colluding: int | None = None,
) -> PrivacyPlan:
    """The plan that spends the study's (epsilon, delta) over ``sites`` sites. Cached.

    Private moments and counts spend their ``budget_share`` of the training part, counted in
    1/sigma^2 (zero-concentrated privacy, Bun and Steinke 2016, lemma 1.7): their noise is that of
    a single release which alone would spend everything, times sqrt(sums / budget_share). The
    training's noise is then calibrated with those releases charged. The held-out part goes to the
    evaluation's sums, in halves if both groups and single sites are evaluated. Each kind is paid
    for ``privacy.spare_attempts`` more often than it is needed.

    With trust "sites" a share has 1/sqrt(sites - colluding) of the sum's noise; with trust "none"
    every site adds all of it, as it always does in its own evaluation. ``colluding`` is a site's
    own number of sites that may cheat; it counts where it is above the study's. ``pooled`` plans
    for all data in one place (a baseline): one site, nobody colluding. ``coordinates`` bounds the
    numbers in one release; the sampler's gap in total variation, times (1 + e^epsilon), is taken
    off delta for each number, release and as many sites as there can be.

    Raises :class:`PrivacyRefusal` for too few or too many sites, a sampler's gap above 1 % of
    delta, and whatever calibration and the cross-check of the accountants refuse.
    """
    privacy, minimum = study.privacy, study.cohort.minimum_sites
    cautious = max(privacy.colluding, colluding or 0)
    pooled = pooled or (sites == 1 and cautious == 0)
    if pooled and sites != 1:
        raise PrivacyRefusal(f"Pooled data are one site, not {sites}; plan for sites = 1.")
    if not pooled and sites < minimum:
        raise PrivacyRefusal(
            f"The roster holds {sites}, but cohort.minimum_sites is {minimum}; add sites."
        )
    if sites > MAX_SITES:
        raise PrivacyRefusal(f"The roster holds {sites} sites, more than {MAX_SITES}; take fewer.")
    if not pooled and sites <= cautious:
        raise PrivacyRefusal(
            f"With {sites} sites of which {cautious} may collude no honest noise is left; add "
            "sites, or lower privacy.colluding or the site's own number."
        )
    return _plan(
        privacy=privacy,
        scaling=study.scaling,
        statistics=study.statistics,
        training=study.training,
        release=study.evaluation.release,
        per_site=study.evaluation.per_site,
        sites=sites,
        colluding=0 if pooled else cautious,
        coordinates=coordinates,
    )


@lru_cache(maxsize=1024)
def _plan(
    *,
    privacy: Privacy,
    scaling: Scaling,
    statistics: Statistics | None,
    training: Training,
    release: bool,
    per_site: bool,
    sites: int,
    colluding: int,
    coordinates: int,
) -> PrivacyPlan:
    calibrated = planned_noise(
        privacy=privacy,
        moments_share=scaling.budget_share if scaling.method == "private_moments" else None,
        counts_share=None if statistics is None else statistics.budget_share,
        training=training,
        release=release,
        per_site=per_site,
        coordinates=coordinates,
    )
    plans = {
        kind: planned.shared_by(
            honest_sites(kind, trust=privacy.trust, sites=sites, colluding=colluding)
        )
        for kind, planned in calibrated.sums
    }
    return PrivacyPlan(
        scaler=plans.get("moments"),
        training=plans["training"],
        evaluation=plans.get("evaluation"),
        site_evaluation=plans.get("site_evaluation"),
        counts=plans.get("counts"),
        delta=privacy.delta,
        accounting_delta=calibrated.accounting_delta,
        trust=privacy.trust,
        sites=sites,
        colluding=colluding,
        training_epsilon=calibrated.training_epsilon,
        held_out_epsilon=calibrated.held_out_epsilon,
    )
