"""The area under the precision-recall curve from two noised histograms.

The area is the mean, over positive patients, of the precision at their score. Within a bin both
counts grow together in a straight line, so that precision is a curve between the bin's two ends
(Davis and Goadrich 2006); it is integrated by Gauss-Legendre quadrature.

No combination of counts has mean 0 at the true area, so unlike ``auroc`` this one is estimated and
its error measured:

- Noise: the larger of two variances. The linear one follows from the derivatives. The other is
  the mean squared move of the area when noise of the same kind is put on top of the released
  counts, in 200 draws from a fixed seed: that one sees where the area is not linear. (The draws
  analyse a release that is public; no privacy rests on them.)
- Sampling: a (1 - a) / P at the candidate a, the binomial variance which Boyd, Eng and Page (2013)
  recommend, here in a score test rather than around the estimate; or the variance of the
  derivatives over patients (infinitesimal jackknife, Efron 1982) if that is larger; at most
  a (1 - a).
- Bins: the gap widens the interval by all of it (see ``within_bins``).

Davis, Goadrich 2006, The relationship between precision-recall and ROC curves. Boyd, Eng, Page
2013, Area under the precision-recall curve: point estimates and confidence intervals. Efron 1982,
The jackknife, the bootstrap and other resampling plans.
"""

from __future__ import annotations

import numpy as np

from fedward.server.evaluation.results import Estimate
from fedward.server.evaluation.score_histogram import (
    Floats,
    ScoreHistograms,
    counts_above,
    counts_below,
)
from fedward.server.evaluation.score_interval import accepted_range
from fedward.server.evaluation.within_bins import WithinBins

_DRAWS = 200
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2
_LEAST = 1e-9


def auprc(histograms: ScoreHistograms) -> Estimate:
    """Estimate the mean precision over all thresholds that a positive patient's score sets.

    The value reads the order within a bin as random. Unknown if the noise hides whether there are
    patients of both outcomes.
    """
    if not histograms.can_be_ranked:
        return Estimate.unknown()
    positives, negatives = histograms.positives, histograms.negatives
    # The precision among fewer patients than the noise counts is not told from their number.
    least = max(histograms.noise / 2, _LEAST)
    area, by_positives, by_negatives = _area_and_slopes(
        positives.counts, negatives.counts, least=least
    )
    value = min(max(area, 0.0), 1.0)
    jackknife = float(
        np.maximum(positives.counts, 0.0) @ by_positives**2
        + np.maximum(negatives.counts, 0.0) @ by_negatives**2
    )
    noise = 0.0
    if histograms.noise > 0:
        generator = np.random.Generator(np.random.PCG64(0))
        redrawn = _areas(
            positives.redrawn(_DRAWS, generator),
            negatives.redrawn(_DRAWS, generator),
            least=least,
        )
        noise = max(
            positives.noise_variance(by_positives) + negatives.noise_variance(by_negatives),
            float(np.mean((np.clip(redrawn, 0.0, 1.0) - value) ** 2)),
        )

    ill = positives.patients

    def variance(a: float) -> float:
        most = a * (1 - a)
        return min(max(most / ill, jackknife), most) + noise

    low, high = accepted_range(value, variance=variance)
    gain, loss = _binning_gap(histograms, least=least)
    return Estimate.within(value, low - loss, high + gain, most=1.0)


def _precision(
    positives: Floats, negatives: Floats, *, more: tuple[Floats, Floats], least: float
) -> Floats:
    """Mean precision on the way from so many patients above to ``more`` of either outcome."""
    true = np.maximum(positives[..., None] + more[0][..., None] * _NODES, 0.0)
    false = np.maximum(negatives[..., None] + more[1][..., None] * _NODES, 0.0)
    mean: Floats = (true / np.maximum(true + false, least)) @ _WEIGHTS
    return mean


def _areas(positives: Floats, negatives: Floats, *, least: float) -> Floats:
    """Areas [draws] of counts [draws, bins]."""
    precision = _precision(
        counts_above(positives),
        counts_above(negatives),
        more=(positives, negatives),
        least=least,
    )
    # More noise on a noised number of patients may bring it near 0, where the area has no meaning.
    areas: Floats = (positives * precision).sum(-1) / np.maximum(positives.sum(-1), 2 * least)
    return areas


def _area_and_slopes(
    positives: Floats, negatives: Floats, *, least: float
) -> tuple[float, Floats, Floats]:
    """The area, and its derivatives by each count of either outcome [bins]."""
    true = np.maximum(counts_above(positives)[:, None] + positives[:, None] * _NODES, 0.0)
    false = np.maximum(counts_above(negatives)[:, None] + negatives[:, None] * _NODES, 0.0)
    called = np.maximum(true + false, least)
    precision = (true / called) @ _WEIGHTS
    patients = positives.sum()
    area = float(positives @ precision / patients)
    # A patient of a bin counts in full for the bins below, and from some point on for its own.
    by_true, by_false = false / called**2, -true / called**2

    def slopes(by: Floats) -> Floats:
        below = counts_below(positives * (by @ _WEIGHTS))
        found: Floats = (below + positives * (by @ (_WEIGHTS * _NODES))) / patients
        return found

    return area, slopes(by_true) + (precision - area) / patients, slopes(by_false)


def _binning_gap(histograms: ScoreHistograms, *, least: float) -> tuple[float, float]:
    """By how much the area of unbinned scores may be above and below that of the bins."""
    bins = WithinBins.of(histograms)
    positives = np.maximum(histograms.positives.counts, 0.0)
    negatives = np.maximum(histograms.negatives.counts, 0.0)
    above = counts_above(positives), counts_above(negatives)

    def precision(corner_positives: Floats, corner_negatives: Floats) -> Floats:
        first = corner_positives * positives, corner_negatives * negatives
        rest = positives - first[0], negatives - first[1]
        corner = above[0] + first[0], above[1] + first[1]
        before = _precision(*above, more=first, least=least)
        after = _precision(*corner, more=rest, least=least)
        return corner_positives * before + (1 - corner_positives) * after

    straight = _precision(*above, more=(positives, negatives), least=least)
    best = precision(bins.positives, bins.negatives)
    worst = precision(1 - bins.positives, 1 - bins.negatives)
    weights = positives / histograms.positives.patients
    gain = weights * np.maximum(best - straight, 0.0)
    loss = (weights * np.maximum(straight - worst, 0.0))[~bins.rising]
    return float(gain.sum()), float(loss.sum())
