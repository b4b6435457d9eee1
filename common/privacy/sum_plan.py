"""The kinds of noised sums, over which patients each is, and how one of them is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from fedward.common.privacy.events import GaussianEvent

SumKind = Literal["moments", "counts", "training", "evaluation", "site_evaluation"]
"""What a noised sum is over: one kind has one clip, one rate and one noise."""
Trust = Literal["sites", "none"]
"""Whether a site relies on the noise of others, so that they share it, or adds all of it."""
Part = Literal["training", "held_out"]
"""Which of a site's patients a sum is over."""
PART_OF: dict[SumKind, Part] = {
    "moments": "training",
    "training": "training",
    "evaluation": "held_out",
    "site_evaluation": "held_out",
    "counts": "training",
}
"""The part of each kind; kinds in the order in which they are released."""
SCALER_CLIP = 1.0
"""A patient's moments are normalised to this L2 bound by whoever computes them."""
COUNTS_CLIP = 1.0
"""L2 norm of a patient in the counts by outcome: it counts once."""
EVALUATION_CLIP = 1.0
"""A held-out patient's scores are weighted to this L2 bound by whoever computes them."""


@dataclass(frozen=True, kw_only=True)
class SumPlan:
    """How one kind of noised sum is made.

    ``clip`` bounds one patient's contribution in L2. ``noise_multiplier`` (noise over sensitivity)
    is that of the sum when at most ``colluding`` sites leave their noise out or subtract it;
    ``share_multiplier`` that of one site's own noise. ``count`` releases are paid for, spares
    included, each over a Poisson sample of patients at ``sampling_rate``; of local training, every
    step is one.
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

    def shared_by(self, honest: int) -> SumPlan:
        """The same sum if the shares of ``honest`` sites make up its noise."""
        return replace(self, share_multiplier=self.noise_multiplier / math.sqrt(honest))

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


def honest_sites(kind: SumKind, *, trust: Trust, sites: int, colluding: int) -> int:
    """How many shares make up the noise of a sum over ``sites``: one where each adds all of it."""
    if trust == "none" or kind == "site_evaluation":
        return 1
    return max(1, sites - colluding)
