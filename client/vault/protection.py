"""How a sum may leave: clip, sampling, noise and ring, all derived from the approved study.

The vault never sees a sigma that somebody chose: it asks a :class:`Protection` for the rules of a
query, and the rules for real studies come from the calibrated plan alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fedward.common.privacy.plan import SumPlan, plan_for
from fedward.common.privacy.random_source import RandomStream
from fedward.common.protocol.releases import ExecutedNoise
from fedward.common.secure_sum.noise import codec_for, noise_share
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions

SumKind = Literal["moments", "training"]
UPDATE_RESOLUTION_BITS = 44
UPDATE_BOUND = 2.0**10
"""Largest L2 norm of a local update that is released; a longer one is scaled down to it."""


class NoiseShare(Protocol):
    """Draws one site's share of the noise of one sum."""

    def draw(self, stream: RandomStream, *, codec: RingCodec) -> NDArray[np.uint64]:
        """Return ring elements ``[codec.length]``; never the same twice from a secure source."""


@dataclass(frozen=True, kw_only=True)
class SumRules:
    """How one noised sum over patients is made.

    ``clip`` is the L2 bound of one patient's contribution, ``sampling_rate`` the Poisson rate by
    patient, ``codec`` the ring of the sum, ``executed`` what one such sum costs (None: nothing was
    protected, which only a simulation's baseline may do).
    """

    clip: float
    sampling_rate: float
    codec: RingCodec
    share: NoiseShare
    executed: ExecutedNoise | None

    def noised(self, total: NDArray[np.float64], stream: RandomStream) -> NDArray[np.uint64]:
        """Encode ``total`` to the ring and add this site's share of the noise."""
        return self.codec.encode(total) + self.share.draw(stream, codec=self.codec)


class Protection(Protocol):
    """Gives the rules by which a study's sums leave a site."""

    def minimum_roster(self, study: Study) -> int:
        """Fewest sites over which a sum of this study may be asked for."""

    def rules(self, study: Study, kind: SumKind, *, sites: int) -> SumRules:
        """Rules of one sum over the patients of a roster of ``sites``."""

    def planned(self, study: Study, kind: SumKind, *, sites: int) -> int | None:
        """How many such sums the study's budget pays for; None: nothing is charged."""


@dataclass(frozen=True)
class PlannedShare:
    """Discrete Gaussian noise as the plan calibrated it."""

    plan: SumPlan

    def draw(self, stream: RandomStream, *, codec: RingCodec) -> NDArray[np.uint64]:
        """Draw from the discrete Gaussian over the integers."""
        return noise_share(self.plan, codec, stream)


class PlannedProtection:
    """The rules of the study's calibrated plan; the only protection that a hospital runs.

    ``pooled`` is for a simulation's baseline, in which one site holds all patients.
    """

    def __init__(self, *, pooled: bool = False) -> None:
        self._pooled = pooled

    def minimum_roster(self, study: Study) -> int:
        """The study's own minimum."""
        return 1 if self._pooled else study.cohort.minimum_sites

    def rules(self, study: Study, kind: SumKind, *, sites: int) -> SumRules:
        """Derive clip, sampling, noise and ring from the plan.

        Raises:
            PrivacyRefusal: no plan meets the study's epsilon and delta with this roster.
        """
        dimensions = Dimensions.of(study)
        length = dimensions.moments if kind == "moments" else dimensions.parameters
        plan = self._sum_plan(study, kind, sites=sites)
        codec = codec_for(
            plan, length=length, max_patients=study.cohort.max_patients_per_site, sites=sites
        )
        return SumRules(
            clip=plan.clip,
            sampling_rate=plan.sampling_rate,
            codec=codec,
            share=PlannedShare(plan),
            executed=ExecutedNoise(
                noise_multiplier=plan.noise_multiplier,
                share_multiplier=plan.share_multiplier,
                sampling_rate=plan.sampling_rate,
                count=1,
            ),
        )

    def planned(self, study: Study, kind: SumKind, *, sites: int) -> int:
        """How many such sums the plan, whose epsilon is within the study's, pays for."""
        return self._sum_plan(study, kind, sites=sites).count

    def _sum_plan(self, study: Study, kind: SumKind, *, sites: int) -> SumPlan:
        coordinates = Dimensions.of(study).longest
        plan = plan_for(study, sites=sites, coordinates=coordinates, pooled=self._pooled)
        chosen = plan.scaler if kind == "moments" else plan.training
        if chosen is None:
            raise ValueError(f"the study plans no {kind} sum")
        return chosen


def update_codec(study: Study, *, sites: int, length: int) -> RingCodec:
    """The ring for a local update, whose noise is already inside (post-processing)."""
    if not isinstance(study.training, LocalTraining):
        raise ValueError("only local training releases updates")
    return RingCodec(
        clip=UPDATE_BOUND,
        length=length,
        max_patients=1,
        sites=sites,
        noise_multiplier=0.0,
        resolution_bits=UPDATE_RESOLUTION_BITS,
    )
