"""What a run may still ask for, and what a release costs by the plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.releases import ExecutedNoise
from fedward.server.release_log import ReleaseLog

UNLIMITED = 1000
"""Attempts that are left where nothing is charged."""


class Spending:
    """The budget of a run against its log; ``budget`` None charges nothing."""

    def __init__(self, log: ReleaseLog, budget: RunBudget | None) -> None:
        self._log = log
        self._budget = budget

    def left(
        self,
        kind: SumKind,
        *,
        sites: Collection[str],
        set_aside: Mapping[SumKind, int] | None = None,
    ) -> int:
        """How many attempts at a sum the budget still pays for at each of ``sites``.

        ``set_aside`` are sums that must be paid for afterwards.
        """
        if self._budget is None:
            return UNLIMITED
        # Most sites were asked for the same.
        charged = {frozenset(self._log.charged(site).items()) for site in sites}
        count = self._log.sums_of(kind)
        return min(
            self._budget.releases_left(dict(one), kind, per_release=count, set_aside=set_aside)
            for one in charged
        )

    def planned(self, kind: SumKind, *, sites: int) -> ExecutedNoise | None:
        """The noise of a release over so many sites, with the least share that a site may draw.

        None if nothing is charged. Raises ValueError for a kind that the budget does not hold.
        """
        if self._budget is None:
            return None
        plan = self._budget.plan_of(kind, sites=sites)
        if plan is None:
            raise ValueError(f"the study plans no {kind} sum")
        return ExecutedNoise(
            noise_multiplier=plan.noise_multiplier,
            share_multiplier=plan.share_multiplier,
            sampling_rate=plan.sampling_rate,
            count=self._log.sums_of(kind),
        )
