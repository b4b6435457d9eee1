"""Baselines without privacy: the same queries and the same ring, with no clip and no noise.

This lives with the simulations on purpose: a hospital's vault cannot be built with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.vault.protection import UPDATE_BOUND, SumRules
from fedward.common.privacy.plan import SumKind
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

    def add(
        self,
        elements: NDArray[np.uint64],  # noqa: ARG002
        stream: RandomStream,  # noqa: ARG002
        *,
        codec: RingCodec,  # noqa: ARG002
    ) -> None:
        """Leave the elements as they are."""
        return


@dataclass(frozen=True, kw_only=True)
class Unprotected:
    """Rules without clip and noise; ``largest_site`` is the most patients that any site has."""

    largest_site: int

    def minimum_roster(self, study: Study) -> int:  # noqa: ARG002
        """A hospital may train alone."""
        return 1

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:  # noqa: ARG002
        """Bound the ring by the simulation's true number of patients; charge nothing."""
        codec = RingCodec(
            clip=UNBOUNDED,
            length=Dimensions.of(study).of_kind(kind),
            max_patients=self.largest_site,
            sites=sites,
            noise_multiplier=0.0,
            resolution_bits=RESOLUTION_BITS,
        )
        rate = study.training.sampling_rate if kind == "training" else 1.0
        return SumRules(
            clip=UNBOUNDED, sampling_rate=rate, codec=codec, share=NoShare(), executed=None
        )

    def plan(self, study: Study, *, sites: int, colluding: int) -> None:  # noqa: ARG002
        """Nothing is charged, so no number of sums is too many."""
        return
