"""What a histogram does not say: how patients of both outcomes are ordered inside one bin.

Ties read as one half draw the ROC curve through a bin as a straight line. What the curve may do
instead is bounded by one assumption, on the likelihood ratio of a score (positive against
negative patients at that score; the slope of the ROC curve): inside a bin it stays within the
range of that bin's and its two neighbours' ratios. Beyond the outermost bins nothing is known, so
there it may fall to 0 or rise without limit. Among all curves whose slope stays between l and h,
the one with h first and l after has the largest area, and the other way round the smallest. Where
ratios rise from bin to bin, as they do for a model that has learnt something, the order inside a
bin is taken to be no worse than chance, so that only the larger area is possible.

In the interior of a histogram the gap is of the order of 1 / bins squared. It is large where many
patients of both outcomes share an outermost bin, as with a rare outcome, or with scores that are
too sure of themselves. More bins are the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.server.evaluation.score_histogram import Floats, ScoreHistograms

_LEAST = 0.5
"""Counts are read as at least that many patients, so that every bin has a ratio."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WithinBins:
    """The best order inside each bin, as the corner of a ROC curve of two straight pieces.

    All are [bins]. The curve of a bin goes from (0, 0) over (``negatives``, ``positives``), in
    shares of the bin's patients of either outcome, to (1, 1). The worst order is the mirror image,
    over (1 - negatives, 1 - positives), and only counts where ``rising`` does not hold.
    """

    negatives: Floats
    positives: Floats
    rising: NDArray[np.bool_]

    @classmethod
    def of(cls, histograms: ScoreHistograms) -> Self:
        """Derive the corners from ratios of neighbours; a count below its noise is read as that.

        A neighbour is the nearest bin that has more patients of some outcome than noise.
        """
        least = _LEAST + histograms.noise
        positives = np.maximum(histograms.positives.counts, least)
        negatives = np.maximum(histograms.negatives.counts, least)
        ratio = positives / negatives
        has_patients = np.maximum(positives, negatives) > least
        before = _nearest_before(ratio, has_patients)
        after = np.flip(_nearest_before(np.flip(ratio), np.flip(has_patients)))
        rising = ~(before > ratio) & ~(after < ratio)
        lowest = np.fmin(np.fmin(before, after), ratio) / ratio
        highest = np.fmax(np.fmax(before, after), ratio) / ratio
        # Nobody lies beyond the outermost bins: that side is open, and where ratios fall, both are.
        open_before, open_after = np.isnan(before), np.isnan(after)
        falling_end = (open_before | open_after) & ~rising
        lowest[open_before | falling_end] = 0.0
        highest[open_after | falling_end] = np.inf
        flat = highest <= lowest
        span = np.where(flat, 1.0, highest - lowest)
        negatives = np.where(flat, 0.5, (1 - lowest) / span)
        return cls(negatives=negatives, positives=1 - lowest * (1 - negatives), rising=rising)

    @property
    def largest_gain(self) -> Floats:
        """How much more than one half of a bin's pairs may be ordered rightly [bins]."""
        gain: Floats = (self.positives - self.negatives) / 2
        return gain


def _nearest_before(ratio: Floats, has_patients: NDArray[np.bool_]) -> Floats:
    """For each bin the ratio of the nearest lower one with patients; NaN if there is none."""
    places = np.where(has_patients, np.arange(len(ratio)), -1)
    nearest = np.concatenate([[-1], np.maximum.accumulate(places)[:-1]])
    return np.where(nearest >= 0, ratio[nearest], np.nan)
