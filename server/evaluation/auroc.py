"""The area under the ROC curve from two noised histograms.

With P_i positive and N_j negative patients in bins i and j, and k_ij = 1 for i > j, 1/2 for i = j
and 0 else, the area with ties as one half is A = sum P_i N_j k_ij / (P N) (Hanley and McNeil
1982). As the noise of both histograms is independent,

    U(a) = sum P_i N_j (k_ij - a)

has mean 0 at the true a and at no other, so that the test of a share applies (see
``noisy_ratios``): the interval holds all a with U(a)^2 <= Z^2 Var U(a).

- Noise: given the true counts, U is linear in the noise of either histogram but for a product of
  the two. Each linear part, with noised counts in place of true ones, is on average too large by
  the variance of that product: both together cover it, and a little more.
- Sampling: the variance of Hanley and McNeil at the candidate a, as Newcombe (2006, method 5)
  has it, which stays right near 1 where estimated variances vanish; or that of DeLong, DeLong and
  Clarke-Pearson (1988) from the histograms if it is larger; at most a (1 - a) / min(P, N), which
  no model exceeds (Birnbaum and Klose 1957).
- Bins: the gap between scores and their bins is not random, and widens the interval by all of it
  (see ``within_bins``).

Hanley, McNeil 1982, The meaning and use of the area under a receiver operating characteristic
curve. Newcombe 2006, Confidence intervals for an effect size measure based on the Mann-Whitney
statistic, part 2. DeLong, DeLong, Clarke-Pearson 1988, Comparing the areas under two or more
correlated receiver operating characteristic curves. Birnbaum, Klose 1957, Bounds for the variance
of the Mann-Whitney statistic.
"""

from __future__ import annotations

import numpy as np

from fedward.server.evaluation.results import Estimate
from fedward.server.evaluation.score_histogram import (
    ScoreHistograms,
    counts_above,
    counts_below,
)
from fedward.server.evaluation.score_interval import accepted_range
from fedward.server.evaluation.within_bins import WithinBins


def auroc(histograms: ScoreHistograms) -> Estimate:
    """Estimate the chance that a random positive is ranked above a random negative.

    The value reads ties within a bin as one half. Unknown if the noise hides whether there are
    patients of both outcomes.
    """
    if not histograms.can_be_ranked:
        return Estimate.unknown()
    positives, negatives = histograms.positives, histograms.negatives
    ill, healthy = positives.patients, negatives.patients
    pairs = ill * healthy
    beaten = counts_below(negatives.counts) + negatives.counts / 2
    beating = counts_above(positives.counts) + positives.counts / 2
    value = min(max(float(positives.counts @ beaten) / pairs, 0.0), 1.0)

    def noise(a: float) -> float:
        of_positives = positives.noise_variance(beaten - a * healthy)
        of_negatives = negatives.noise_variance(beating - a * ill)
        return (of_positives + of_negatives) / pairs**2

    # A quadratic in a, so three values give all of it.
    at_0, at_half, at_1 = noise(0.0), noise(0.5), noise(1.0)
    square = 2 * (at_0 + at_1 - 2 * at_half)
    linear = at_1 - at_0 - square
    delong = _delong_variance(histograms)

    def variance(a: float) -> float:
        sampling = max(_newcombe_variance(a, ill, healthy), delong)
        most = a * (1 - a) / min(ill, healthy)
        return min(sampling, most) + max(at_0 + linear * a + square * a * a, 0.0)

    low, high = accepted_range(value, variance=variance)
    gain, loss = _binning_gap(histograms)
    return Estimate.within(value, low - loss, high + gain, most=1.0)


def _newcombe_variance(a: float, positives: float, negatives: float) -> float:
    others = max((positives + negatives) / 2 - 1, 0.0)
    spread = 1 + others * ((1 - a) / (2 - a) + a / (1 + a))
    return a * (1 - a) * spread / (positives * negatives)


def _delong_variance(histograms: ScoreHistograms) -> float:
    """The variances of patients' shares of pairs won, from counts that are not negative."""
    positives = np.maximum(histograms.positives.counts, 0.0)
    negatives = np.maximum(histograms.negatives.counts, 0.0)
    positive_weights = positives / positives.sum()
    negative_weights = negatives / negatives.sum()
    wins = counts_below(negative_weights) + negative_weights / 2
    losses = counts_above(positive_weights) + positive_weights / 2
    area = float(positive_weights @ wins)
    of_positives = float(positive_weights @ (wins - area) ** 2)
    of_negatives = float(negative_weights @ (losses - area) ** 2)
    return of_positives / histograms.positives.patients + (
        of_negatives / histograms.negatives.patients
    )


def _binning_gap(histograms: ScoreHistograms) -> tuple[float, float]:
    """By how much the area of unbinned scores may be above and below that of the bins."""
    bins = WithinBins.of(histograms)
    positives, negatives = histograms.positives, histograms.negatives
    shared = np.maximum(positives.counts, 0.0) * np.maximum(negatives.counts, 0.0)
    gaps = shared * bins.largest_gain / (positives.patients * negatives.patients)
    return float(gaps.sum()), float(gaps[~bins.rising].sum())
