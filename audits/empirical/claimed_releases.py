"""The releases that canaries were scored by, as claimed: what a bound tests, and can be simulated.

The simulation stands for a vault that does exactly what it says, so it never touches one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.local_steps import LocalSteps
from fedward.audits.empirical.rehearsal import ClaimName, Rehearsal
from fedward.audits.empirical.scores import log_likelihood_ratio
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind


@dataclass(frozen=True, kw_only=True)
class ClaimedReleases:
    """Gaussian sums of which a canary's part, if it is in, has the length of the clip.

    ``steps`` are the weights of local steps in one release, if several are released as one; then
    ``events`` count steps, and all but their weighted sum is lost.
    """

    events: tuple[GaussianEvent, ...]
    steps: tuple[float, ...] | None = None

    @classmethod
    def of(cls, rehearsal: Rehearsal, name: ClaimName) -> ClaimedReleases:
        """Those that one view of a rehearsal scored its canaries by."""
        asked, plan, study = rehearsal.sites, rehearsal.plan, rehearsal.audit.study
        # Every site was asked for the same.
        counts = Counter(one.kind for one in asked.releases if one.site == asked.roster[0])
        local = LocalSteps.of(study, sites=len(asked.roster)) if rehearsal.audit.is_local else None
        scored: tuple[SumKind, ...] = ("moments", "training")
        events = []
        for kind in scored:
            planned = plan.of(kind)
            if planned is None or not counts[kind]:
                continue
            steps = len(local.weights) if local is not None and kind == "training" else 1
            made = planned.event if name == "epsilon" else planned.event_alone
            events.append(made(counts[kind] * steps))
        return cls(
            events=tuple(events),
            steps=None if local is None else tuple(float(weight) for weight in local.weights),
        )

    def simulated(
        self, canaries: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Log-likelihood ratios ``[canaries]`` in one run, and fair coins of who was in."""
        included = generator.random(canaries) < 0.5
        scores = np.zeros(canaries)
        for event in self.events:
            scores += self._scores(event, included, generator)
        return scores, included

    def values(self, canaries: int) -> int:
        """How many random numbers a simulation draws."""
        return canaries * sum(1 if e.sampling_rate == 1 else e.count for e in self.events)

    def _scores(
        self, event: GaussianEvent, included: NDArray[np.bool_], generator: np.random.Generator
    ) -> NDArray[np.float64]:
        noise, rate, count = event.noise_multiplier, event.sampling_rate, event.count
        canaries = len(included)
        if rate == 1 and self.steps is None:
            # The mean of all releases says as much as they do.
            noise /= np.sqrt(count)
            amounts = included + noise * generator.standard_normal(canaries)
            return log_likelihood_ratio(amounts, noise=noise, rate=1.0)
        total = np.zeros(canaries)
        if self.steps is None or rate == 1:
            for _ in range(count):
                amounts = self._amounts(event, included, generator)
                total += log_likelihood_ratio(amounts, noise=noise, rate=rate)
            return total
        # The Gaussian approximation by which a local update is scored.
        weights = np.asarray(self.steps)
        expected = rate * weights.sum()
        variance = (noise**2 + rate * (1 - rate)) * np.square(weights).sum()
        for _ in range(count // len(weights)):
            summed = sum(w * self._amounts(event, included, generator) for w in weights)
            total += expected / variance * (summed - expected / 2)
        return total

    def _amounts(
        self, event: GaussianEvent, included: NDArray[np.bool_], generator: np.random.Generator
    ) -> NDArray[np.float64]:
        """What one release holds of each canary, in clips."""
        sampled = included & (generator.random(len(included)) < event.sampling_rate)
        return sampled + event.noise_multiplier * generator.standard_normal(len(included))
