"""Baselines without privacy: the same queries and the same ring, with no clip and no noise.

This lives with the simulations on purpose: a hospital's vault cannot be built with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.vault.protection import UPDATE_BOUND, SumKind, SumRules
from fedward.common.privacy.random_source import RandomStream
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

RESOLUTION_BITS = 36
UNBOUNDED = UPDATE_BOUND
"""Stands for "no clip": far above any gradient norm of a registered model on scaled features."""


@dataclass(frozen=True)
class NoShare:
    """Adds nothing."""

    def draw(self, stream: RandomStream, *, codec: RingCodec) -> NDArray[np.uint64]:  # noqa: ARG002
        """Return zeros."""
        return np.zeros(codec.length, dtype=np.uint64)


@dataclass(frozen=True, kw_only=True)
class Unprotected:
    """Rules without clip and noise; ``largest_site`` is the most patients that any site has."""

    largest_site: int

    def minimum_roster(self, study: Study) -> int:  # noqa: ARG002
        """A hospital may train alone."""
        return 1

    def rules(self, study: Study, kind: SumKind, *, sites: int) -> SumRules:
        """Bound the ring by the simulation's true number of patients; charge nothing."""
        dimensions = Dimensions.of(study)
        codec = RingCodec(
            clip=UNBOUNDED,
            length=dimensions.moments if kind == "moments" else dimensions.parameters,
            max_patients=self.largest_site,
            sites=sites,
            noise_multiplier=0.0,
            resolution_bits=RESOLUTION_BITS,
        )
        rate = 1.0 if kind == "moments" else study.training.sampling_rate
        return SumRules(
            clip=UNBOUNDED, sampling_rate=rate, codec=codec, share=NoShare(), executed=None
        )

    def planned(self, study: Study, kind: SumKind, *, sites: int) -> None:  # noqa: ARG002
        """Nothing is charged, so no number of sums is too many."""
        return
