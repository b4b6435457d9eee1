"""The noise of every sum of a study: calibrated once, whatever the number of sites."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import cross_checked_epsilon
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.discrete_gaussian import TOTAL_VARIATION_PER_DRAW
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import (
    COUNTS_CLIP,
    EVALUATION_CLIP,
    PART_OF,
    SCALER_CLIP,
    Part,
    SumKind,
    SumPlan,
)
from fedward.common.protocol.fields import MAX_SITES
from fedward.common.study.definition import Privacy, Training

_LARGEST_SHARE_OF_DELTA = 0.01


@dataclass(frozen=True, kw_only=True)
class PlannedSum:
    """One kind of sum before it is known how many sites share its noise."""

    clip: float
    sampling_rate: float
    count: int
    noise_multiplier: float

    def event(self) -> GaussianEvent:
        """All releases of this kind."""
        return GaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            count=self.count,
        )

    def shared_by(self, honest: int) -> SumPlan:
        """The plan if so many sites make up the noise together."""
        whole = SumPlan(
            clip=self.clip,
            sampling_rate=self.sampling_rate,
            count=self.count,
            noise_multiplier=self.noise_multiplier,
            share_multiplier=self.noise_multiplier,
        )
        return whole.shared_by(honest)


@dataclass(frozen=True, kw_only=True)
class PlannedNoise:
    """Every kind of sum of a study, and what each part of the patients spends."""

    sums: tuple[tuple[SumKind, PlannedSum], ...]
    accounting_delta: float
    training_epsilon: float
    held_out_epsilon: float


@lru_cache(maxsize=256)
def planned_noise(
    *,
    privacy: Privacy,
    moments_share: float | None,
    counts_share: float | None,
    training: Training,
    release: bool,
    per_site: bool,
    coordinates: int,
) -> PlannedNoise:
    """Calibrate all sums of a study; see :func:`~fedward.common.privacy.plan.plan_for`. Cached.

    ``moments_share`` and ``counts_share`` are their parts of the budget, None if not released.
    """
    repeats = 1 + privacy.spare_attempts
    steps = training.steps_per_round if training.method == "local" else 1
    steps *= training.rounds + privacy.spare_attempts
    fixed: list[tuple[SumKind, float, float]] = []
    if moments_share is not None:
        fixed.append(("moments", SCALER_CLIP, moments_share))
    if counts_share is not None:
        fixed.append(("counts", COUNTS_CLIP, counts_share))
    evaluations: list[SumKind] = []
    if release:
        evaluations.append("evaluation")
    if per_site:
        evaluations.append("site_evaluation")
    # As many as there can be: a part's budget may go to one kind alone, and calibration to five
    # digits is well within 1 %.
    kept = 1 - sum(share for _, _, share in fixed)
    releases = steps / kept + sum(repeats / share for _, _, share in fixed)
    releases = math.ceil(1.01 * (releases + repeats * len(evaluations) ** 2))
    delta = _accounting_delta(privacy, draws=coordinates * releases * MAX_SITES)

    def noise(*, rate: float, count: int, already: tuple[GaussianEvent, ...] = ()) -> float:
        return calibrated_noise_multiplier(
            epsilon=privacy.epsilon,
            delta=delta,
            sampling_rate=rate,
            count=count,
            already=already,
        )

    def everyone(clip: float, multiplier: float) -> PlannedSum:
        return PlannedSum(clip=clip, sampling_rate=1.0, count=repeats, noise_multiplier=multiplier)

    sums: dict[SumKind, PlannedSum] = {
        kind: everyone(clip, noise(rate=1.0, count=1) * math.sqrt(repeats / share))
        for kind, clip, share in fixed
    }
    already = tuple(planned.event() for planned in sums.values())
    sums["training"] = PlannedSum(
        clip=privacy.clip,
        sampling_rate=training.sampling_rate,
        count=steps,
        noise_multiplier=noise(rate=training.sampling_rate, count=steps, already=already),
    )
    for kind in evaluations:
        # As many equal sums as there are of all kinds: in halves if there are two.
        multiplier = noise(rate=1.0, count=repeats * len(evaluations))
        sums[kind] = everyone(EVALUATION_CLIP, multiplier)

    def spent(part: Part) -> float:
        events = tuple(sums[kind].event() for kind in sums if PART_OF[kind] == part)
        return cross_checked_epsilon(events, delta=delta).epsilon

    return PlannedNoise(
        sums=tuple(sums.items()),
        accounting_delta=delta,
        training_epsilon=spent("training"),
        held_out_epsilon=spent("held_out"),
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
