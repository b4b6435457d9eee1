"""The released histogram of one outcome's scores, made to agree with the confusion counts.

Both parts of the release count the same patients: true positives and false negatives together are
the positives, and those from the threshold on are the true positives alone. A confusion count has
the noise of one number, a sum over bins that of many. The best linear unbiased reading of both
(generalised least squares, Aitken 1936) moves all bins of a block by the same amount, so that
their sum becomes the average of the two, weighted by precision. The order of patients, and so the
area under a curve, then suffers from noise within the blocks only. Counts stay negative where
noise made them so: to lift them to 0 would add patients that nobody has, in every empty bin.

Aitken 1936, On least squares and linear combination of observations. For released counts: Hay,
Rastogi, Miklau, Suciu 2010, Boosting the accuracy of differentially private histograms through
consistency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.score_sums import ScoreSums
from fedward.server.evaluation.noisy_ratios import is_distinguishable

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring bins whose sum is known better than each of them."""

    bins: slice
    width: int
    sum_variance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreHistogram:
    """Counts of patients [bins] by ascending score, some perhaps negative, and their noise."""

    counts: Floats
    noise: float
    blocks: tuple[Block, ...]

    @classmethod
    def agreeing(
        cls,
        counts: Floats,
        sums: tuple[float, ...],
        *,
        cuts: tuple[int, ...],
        noise: float,
        sum_noise: float,
    ) -> Self:
        """Reconcile ``counts`` [bins] with released sums over the bins between ``cuts``.

        ``noise`` and ``sum_noise`` are the standard deviations of a count's and a sum's noise.
        """
        agreed = counts.copy()
        blocks = []
        edges = (0, *cuts, len(counts))
        for start, stop, known in zip(edges, edges[1:], sums, strict=False):
            bins, width = slice(start, stop), stop - start
            counted = float(counts[bins].sum())
            counted_variance, known_variance = width * noise**2, sum_noise**2
            both = counted_variance + known_variance
            if both > 0:
                agreed[bins] += (known - counted) * counted_variance / both / width
            blocks.append(
                Block(
                    bins=bins,
                    width=width,
                    sum_variance=counted_variance * known_variance / both if both > 0 else 0.0,
                )
            )
        return cls(counts=agreed, noise=noise, blocks=tuple(blocks))

    @property
    def patients(self) -> float:
        """All of the outcome, as noised."""
        return float(self.counts.sum())

    @property
    def is_of_somebody(self) -> bool:
        """Whether the number of patients can be told from 0."""
        spread = math.sqrt(sum(block.sum_variance for block in self.blocks))
        return is_distinguishable(self.patients, noise=spread)

    def noise_variance(self, weights: Floats) -> float:
        """Variance, by noise, of the counts' sum with those weights [bins]."""
        total = 0.0
        for block in self.blocks:
            part = weights[block.bins]
            level = float(part.sum())
            within = float(part @ part) - level**2 / block.width
            total += self.noise**2 * max(within, 0.0)
            total += block.sum_variance * (level / block.width) ** 2
        return total

    def redrawn(self, draws: int, generator: np.random.Generator) -> Floats:
        """The counts with fresh noise of the same kind on top [draws, bins]."""
        noised = np.empty((draws, len(self.counts)))
        for block in self.blocks:
            within = generator.standard_normal((draws, block.width))
            within -= within.mean(axis=1, keepdims=True)
            level = generator.standard_normal((draws, 1)) * math.sqrt(block.sum_variance)
            noised[:, block.bins] = self.noise * within + level / block.width
        return noised + self.counts


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreHistograms:
    """Both outcomes' histograms; their noise is independent."""

    positives: ScoreHistogram
    negatives: ScoreHistogram

    @classmethod
    def of(cls, sums: ScoreSums, *, threshold: float) -> Self:
        """Read a release. The threshold helps most if it lies between two bins."""
        edges = np.arange(1, sums.bins) / sums.bins
        cuts = tuple(int(place) + 1 for place in np.flatnonzero(edges == threshold))
        spread = sums.confusion_noise * (1.0 if cuts else math.sqrt(2))

        def agreeing(counts: Floats, below: float, above: float) -> ScoreHistogram:
            return ScoreHistogram.agreeing(
                counts,
                (below, above) if cuts else (below + above,),
                cuts=cuts,
                noise=sums.histogram_noise,
                sum_noise=spread,
            )

        return cls(
            positives=agreeing(sums.positives, sums.false_negative, sums.true_positive),
            negatives=agreeing(sums.negatives, sums.true_negative, sums.false_positive),
        )

    @property
    def noise(self) -> float:
        """Standard deviation of the noise in one released count."""
        return self.positives.noise

    @property
    def can_be_ranked(self) -> bool:
        """Whether there are patients of both outcomes, as far as the noise lets one tell."""
        return self.positives.is_of_somebody and self.negatives.is_of_somebody


def counts_above(counts: Floats) -> Floats:
    """For each bin, how many are in higher ones; over the last axis."""
    return np.flip(np.cumsum(np.flip(counts, -1), -1), -1) - counts


def counts_below(counts: Floats) -> Floats:
    """For each bin, how many are in lower ones; over the last axis."""
    below: Floats = np.cumsum(counts, -1) - counts
    return below
