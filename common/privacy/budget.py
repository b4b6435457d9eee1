"""What a run may still release: one rule for a vault's gate and for the coordinator."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from fractions import Fraction

from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import PART_OF, Part, SumKind, SumPlan


class RunBudget:
    """Says whether further sums fit into a plan, part by part of the patients.

    If all planned sums of a part are over all of its patients (sampling rate 1), what is spent is
    the sum of count / noise_multiplier^2, and any kinds in any order are allowed while that stays
    within what is planned: stopping there is exact also if what is asked next is chosen from what
    came out before (Smith and Thakurta 2022, "Fully Adaptive Composition for Gaussian Differential
    Privacy"). So a repeated scaler sum may be paid for by later rounds. Sums over sampled patients
    have no such rule; their number is fixed in advance, kind by kind. So is it where a site's share
    of the noise is not the same part of all sums (each site's own evaluation, beside a shared
    one): an exchange would leave ``epsilon`` as it is and raise ``epsilon_alone``.

    ``charged`` counts releases in units of ``SumPlan.count``, so every local step is one.
    Arithmetic is exact, so nothing is gained or lost by rounding.
    """

    def __init__(self, plan: PrivacyPlan) -> None:
        self._plan = plan
        self._plans = plan.sums
        self._exchangeable: dict[Part, bool] = {
            part: _exchangeable(plan.sums_of_part(part).values())
            for part in ("training", "held_out")
        }

    def plan_of(self, kind: SumKind, *, sites: int) -> SumPlan | None:
        """How a sum of this kind over ``sites`` is made; None if it is not planned."""
        return self._plan.of_roster(kind, sites=sites)

    def allows(self, charged: Mapping[SumKind, int], kind: SumKind, count: int) -> bool:
        """Whether ``count`` more releases of ``kind`` fit, after what was ``charged`` so far.

        False for a kind that is not planned, and if ``charged`` holds one of the same part.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1: {count}")
        return self.releases_left(charged, kind, per_release=count) >= 1

    def releases_left(
        self,
        charged: Mapping[SumKind, int],
        kind: SumKind,
        *,
        per_release: int,
        set_aside: Mapping[SumKind, int] | None = None,
    ) -> int:
        """How many more releases of ``kind`` fit, each charged ``per_release`` times.

        ``set_aside`` are releases of any kinds that must still fit afterwards.
        """
        if per_release < 1:
            raise ValueError(f"per_release must be at least 1: {per_release}")
        part = PART_OF[kind]
        taken = {
            other: charged.get(other, 0) + (set_aside or {}).get(other, 0)
            for other in PART_OF
            if PART_OF[other] == part
        }
        if any(count < 0 for count in taken.values()):
            raise ValueError(f"counts cannot be negative: {taken}")
        if kind not in self._plans or any(
            count > 0 and other not in self._plans for other, count in taken.items()
        ):
            return 0
        if not self._exchangeable[part]:
            if any(count > self._plans[other].count for other, count in taken.items() if count):
                return 0
            return (self._plans[kind].count - taken[kind]) // per_release
        left = sum(
            (
                (plan.count - taken[other]) * _precision(plan)
                for other, plan in self._plans.items()
                if PART_OF[other] == part
            ),
            start=Fraction(0),
        )
        return max(0, left // (per_release * _precision(self._plans[kind])))


def _exchangeable(plans: Collection[SumPlan]) -> bool:
    shares = [plan.share_multiplier / plan.noise_multiplier for plan in plans]
    alike = all(math.isclose(share, shares[0], rel_tol=1e-9) for share in shares)
    return alike and all(plan.sampling_rate == 1 for plan in plans)


def _precision(plan: SumPlan) -> Fraction:
    return 1 / Fraction(plan.noise_multiplier) ** 2
