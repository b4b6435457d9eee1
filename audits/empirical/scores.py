"""Scores: how much likelier what was released is if a canary was in than if it was not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.canaries import (
    Canaries,
    CanaryShape,
    amounts,
    canary_columns,
    canary_moments,
)
from fedward.audits.empirical.local_steps import LocalSteps
from fedward.audits.empirical.rehearsed_sites import RehearsedSites
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import SumKind


def log_likelihood_ratio(
    amount: NDArray[np.float64], *, noise: NDArray[np.float64] | float, rate: float
) -> NDArray[np.float64]:
    """Of Normal(0, noise^2) against itself moved by 1 with probability ``rate``, elementwise."""
    shift = (amount - 0.5) / np.square(noise)
    if rate == 1.0:
        return np.asarray(shift, dtype=np.float64)
    ratio: NDArray[np.float64] = np.logaddexp(np.log1p(-rate), np.log(rate) + shift)
    return ratio


class Scorer:
    """Scores the canaries of a rehearsal under the plan's noise.

    The score is the sum over releases of log-likelihood ratios, which by Neyman and Pearson tells
    "in" from "out" best; for local training of their Gaussian approximation, because an update
    holds several sampled steps.
    """

    def __init__(
        self, asked: RehearsedSites, *, audit: AuditStudy, plan: PrivacyPlan, canaries: Canaries,
        shape: CanaryShape,
    ) -> None:  # fmt: skip
        self._asked = asked
        self._audit = audit
        self._plan = plan
        self._canaries = canaries
        self._shape = shape

    def of_sum(self, sites: Sequence[str]) -> NDArray[np.float64]:
        """By the sum of these sites' releases, whose shares make up the planned noise."""
        everyone = np.arange(len(self._canaries.site))
        training = self._plan.training.noise_multiplier
        moments = self._plan.scaler.noise_multiplier if self._plan.scaler else None
        return self._scores(sites, everyone, training=training, moments=moments)

    def of_each_site(self) -> NDArray[np.float64]:
        """By the release of the one site that each canary is at, with that site's noise alone."""
        scores = np.zeros(len(self._canaries.site))
        training = self._plan.training.share_multiplier
        moments = self._plan.scaler.share_multiplier if self._plan.scaler else None
        for number, site in enumerate(self._canaries.sites):
            own = np.flatnonzero(self._canaries.site == number)
            scores[own] = self._scores([site], own, training=training, moments=moments)
        return scores

    def _scores(
        self,
        sites: Sequence[str],
        chosen: NDArray[np.int64],
        *,
        training: float,
        moments: float | None,
    ) -> NDArray[np.float64]:
        total = self._training(self._sum("training", sites), chosen, training)
        if moments is not None and len(summed := self._sum("moments", sites)):
            strength = self._shape.moments
            both = canary_moments(summed, audit=self._audit)[..., chosen]
            amount = both.sum(axis=-2) / np.sqrt(2) / strength
            total += log_likelihood_ratio(amount, noise=moments / strength, rate=1.0).sum(axis=0)
        return total

    def _training(
        self, summed: NDArray[np.float64], chosen: NDArray[np.int64], multiplier: float
    ) -> NDArray[np.float64]:
        study = self._audit.study
        positive = self._canaries.positive[chosen]
        rate, clip = study.training.sampling_rate, study.privacy.clip
        noise = multiplier / self._shape.strengths[positive.astype(np.int64)]
        columns = canary_columns(summed, audit=self._audit)[..., chosen]
        if not self._audit.is_local:
            amount = amounts(columns, self._shape, positive, clip=clip)
            ratios = log_likelihood_ratio(amount, noise=noise, rate=rate)
            return np.asarray(ratios.sum(axis=0))
        steps = LocalSteps.of(study, sites=len(self._asked.roster))
        amount = amounts(columns / steps.unit, self._shape, positive, clip=clip)
        expected = rate * steps.weights.sum()
        variance = (noise**2 + rate * (1 - rate)) * steps.length**2
        return np.asarray((expected / variance * (amount - expected / 2)).sum(axis=0))

    def _sum(self, kind: SumKind, sites: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(np.sum([self._asked.values(kind, site) for site in sites], axis=0))
