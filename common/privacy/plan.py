"""The privacy plan of a study: which sums are released, how often, and with how much noise.

Everything that draws noise or charges a budget takes it from here, so that a noise level can never
stand beside a clip or a rate that it was not calibrated for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import cross_checked_epsilon, epsilon_of
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.discrete_gaussian import TOTAL_VARIATION_PER_DRAW
from fedward.common.privacy.events import GaussianEvent
from fedward.common.study.definition import Privacy, Scaling, Study, Training

SCALER_CLIP = 1.0
"""A patient's moments are normalised to this L2 bound by whoever computes them."""
DEFAULT_COORDINATES = 2**32
"""Numbers per release that the sampler's gap is charged for unless said otherwise."""

_LARGEST_SHARE_OF_DELTA = 0.01


@dataclass(frozen=True, kw_only=True)
class SumPlan:
    """How one kind of noised sum is made.

    ``clip`` bounds one patient's contribution in L2. ``noise_multiplier`` (noise over sensitivity)
    is that of the sum when at most ``colluding`` sites leave their noise out or subtract it;
    ``share_multiplier`` that of one site's own noise. ``count`` releases are planned, each over a
    Poisson sample of patients at ``sampling_rate``.
    """

    clip: float
    sampling_rate: float
    count: int
    noise_multiplier: float
    share_multiplier: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise ValueError(f"clip must be finite and > 0: {self.clip}")
        if not 0 < self.share_multiplier <= self.noise_multiplier:
            raise ValueError("share_multiplier must be in (0, noise_multiplier]")
        self.event(self.count)  # refuses the rest

    def event(self, count: int = 1) -> GaussianEvent:
        """What ``count`` releases cost while at most ``colluding`` sites cheat."""
        return GaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            count=count,
        )

    def event_alone(self, count: int = 1) -> GaussianEvent:
        """What ``count`` releases cost a site's patients if all other sites collude."""
        return GaussianEvent(
            noise_multiplier=self.share_multiplier,
            sampling_rate=self.sampling_rate,
            count=count,
        )


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """The sums of one run and what they cost together, if all planned releases are made.

    ``epsilon`` is cross-checked and at most the study's. ``epsilon_alone`` is what remains for a
    site if everyone else colludes with the coordinator; it is reported, not promised: an upper
    bound as :func:`~fedward.common.privacy.accounting.epsilon_of` gives it, which may be far above
    50, neither capped nor cross-checked.
    Both are at ``accounting_delta``: the study's ``delta`` less the gap of the noise sampler.
    """

    scaler: SumPlan | None
    training: SumPlan
    delta: float
    accounting_delta: float
    sites: int
    colluding: int
    epsilon: float
    epsilon_alone: float

    @property
    def sums(self) -> tuple[SumPlan, ...]:
        """The kinds of sums, in the order in which they are released."""
        return (self.training,) if self.scaler is None else (self.scaler, self.training)

    @property
    def events(self) -> tuple[GaussianEvent, ...]:
        """All planned releases, at the noise of the sum."""
        return tuple(plan.event(plan.count) for plan in self.sums)

    @property
    def events_alone(self) -> tuple[GaussianEvent, ...]:
        """All planned releases, at the noise of one site's own share."""
        return tuple(plan.event_alone(plan.count) for plan in self.sums)


def plan_for(
    study: Study,
    *,
    sites: int,
    pooled: bool = False,
    coordinates: int = DEFAULT_COORDINATES,
) -> PrivacyPlan:
    """The plan that spends the study's (epsilon, delta) over ``sites`` sites. Cached.

    With private moments, one full sum spends ``budget_share`` of the budget, counted in 1/sigma^2
    (zero-concentrated privacy, Bun and Steinke 2016, lemma 1.7): its noise is that of a single
    release which alone would spend everything, over sqrt(budget_share). The training's noise is
    then calibrated with that release charged.

    With trust "sites" a share has 1/sqrt(sites - colluding) of the sum's noise; with trust "none"
    every site adds all of it. ``pooled`` plans for all data in one place (a baseline): one site,
    nobody colluding. ``coordinates`` bounds the numbers in one release; the sampler's gap in total
    variation, times (1 + e^epsilon), is taken off delta for each number, site and release.

    Raises :class:`PrivacyRefusal` for too few sites, a sampler's gap above 1 % of delta, and
    whatever calibration and the cross-check of the accountants refuse.
    """
    privacy, minimum = study.privacy, study.cohort.minimum_sites
    pooled = pooled or (sites == 1 and privacy.colluding == 0)
    if pooled and sites != 1:
        raise PrivacyRefusal(f"Pooled data are one site, not {sites}; plan for sites = 1.")
    if not pooled and sites < minimum:
        raise PrivacyRefusal(
            f"The roster holds {sites}, but cohort.minimum_sites is {minimum}; add sites."
        )
    if not pooled and sites <= privacy.colluding:
        raise PrivacyRefusal(
            f"With {sites} sites and privacy.colluding = {privacy.colluding} no honest noise is "
            "left; add sites or lower it."
        )
    colluding = 0 if pooled else privacy.colluding
    return _plan(
        privacy=privacy,
        scaling=study.scaling,
        training=study.training,
        sites=sites,
        colluding=colluding,
        coordinates=coordinates,
    )


@lru_cache(maxsize=256)
def _plan(
    *,
    privacy: Privacy,
    scaling: Scaling,
    training: Training,
    sites: int,
    colluding: int,
    coordinates: int,
) -> PrivacyPlan:
    steps = training.rounds * (training.steps_per_round if training.method == "local" else 1)
    releases = steps + (scaling.method == "private_moments")
    delta = _accounting_delta(privacy, draws=coordinates * releases * sites)
    honest = 1 if privacy.trust == "none" else sites - colluding

    def planned(clip: float, rate: float, count: int, multiplier: float) -> SumPlan:
        return SumPlan(
            clip=clip,
            sampling_rate=rate,
            count=count,
            noise_multiplier=multiplier,
            share_multiplier=multiplier / math.sqrt(honest),
        )

    scaler = None
    if scaling.method == "private_moments":
        whole = calibrated_noise_multiplier(
            epsilon=privacy.epsilon, delta=delta, sampling_rate=1.0, count=1
        )
        scaler = planned(SCALER_CLIP, 1.0, 1, whole / math.sqrt(scaling.budget_share))
    already = () if scaler is None else (scaler.event(),)
    multiplier = calibrated_noise_multiplier(
        epsilon=privacy.epsilon,
        delta=delta,
        sampling_rate=training.sampling_rate,
        count=steps,
        already=already,
    )
    sums = planned(privacy.clip, training.sampling_rate, steps, multiplier)
    events = (*already, sums.event(steps))
    alone = tuple(plan.event_alone(plan.count) for plan in ((scaler, sums) if scaler else (sums,)))
    return PrivacyPlan(
        scaler=scaler,
        training=sums,
        delta=privacy.delta,
        accounting_delta=delta,
        sites=sites,
        colluding=colluding,
        epsilon=cross_checked_epsilon(events, delta=delta).epsilon,
        epsilon_alone=epsilon_of(alone, delta=delta),
    )


def _accounting_delta(privacy: Privacy, *, draws: int) -> float:
    """Delta that is left for the ideal mechanism.

    If sampled and ideal noise differ by t in total variation, an ideal (epsilon, delta) guarantee
    becomes (epsilon, delta + (1 + e^epsilon) t) (Canonne, Kamath, Steinke 2020, section 2).
    """
    gap = (1 + math.exp(privacy.epsilon)) * TOTAL_VARIATION_PER_DRAW * draws
    if not gap <= _LARGEST_SHARE_OF_DELTA * privacy.delta:
        raise PrivacyRefusal(
            f"The noise sampler's gap over {draws} draws is {gap:.3g}, more than 1 % of "
            f"privacy.delta = {privacy.delta:g}; raise delta or release less."
        )
    return math.nextafter(privacy.delta - gap, 0.0)
