"""How a sum may leave: clip, sampling, noise and ring, all derived from the approved study.

The vault never sees a sigma that somebody chose: it asks a :class:`Protection` for the rules of a
query, and the rules for real studies come from the calibrated plan alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.random_source import RandomStream
from fedward.common.privacy.sum_plan import SumKind, SumPlan
from fedward.common.protocol.releases import ExecutedNoise
from fedward.common.secure_sum.noise import add_noise_share, codec_for
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions

UPDATE_RESOLUTION_BITS = 44
UPDATE_BOUND = 2.0**10
"""Largest L2 norm of a local update that is released; a longer one is scaled down to it."""


class NoiseShare(Protocol):
    """Adds one site's share of the noise of one sum."""

    def add(self, elements: NDArray[np.uint64], stream: RandomStream, *, codec: RingCodec) -> None:
        """Add it to ring elements ``[codec.length]`` in place.

        Never the same twice from a secure source.
        """


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
        elements = self.codec.encode(total)
        self.add_noise(elements, stream)
        return elements

    def add_noise(self, elements: NDArray[np.uint64], stream: RandomStream) -> None:
        """Add this site's share of the noise to an encoded sum, in place."""
        self.share.add(elements, stream, codec=self.codec)


class Protection(Protocol):
    """Gives the rules by which a study's sums leave a site."""

    def minimum_roster(self, study: Study) -> int:
        """Fewest sites over which a sum of this study may be asked for."""

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        """Rules of one sum over the patients of a roster of ``sites``.

        ``colluding`` is how many of them this site takes to cheat, if that is more than the study
        does. Raises :class:`PrivacyRefusal` if no noise protects such a sum, or none fits its ring.
        """

    def plan(self, study: Study, *, sites: int, colluding: int) -> PrivacyPlan | None:
        """The plan that pays for the study's sums; None: nothing is charged. Raises likewise."""


@dataclass(frozen=True)
class PlannedShare:
    """Discrete Gaussian noise as the plan calibrated it."""

    plan: SumPlan

    def add(self, elements: NDArray[np.uint64], stream: RandomStream, *, codec: RingCodec) -> None:
        """Draw from the discrete Gaussian over the integers."""
        add_noise_share(elements, self.plan, codec, stream)


class PlannedProtection:
    """The rules of the study's calibrated plan; the only protection that a hospital runs.

    ``pooled`` is for a simulation's baseline, in which one site holds all patients.
    """

    def __init__(self, *, pooled: bool = False) -> None:
        self._pooled = pooled

    def minimum_roster(self, study: Study) -> int:
        """The study's own minimum."""
        return 1 if self._pooled else study.cohort.minimum_sites

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        """Derive clip, sampling, noise and ring from the plan.

        Raises:
            PrivacyRefusal: no plan meets the study's epsilon and delta with this roster.
            ValueError: the study plans no such sum.
        """
        plan = self.plan(study, sites=sites, colluding=colluding).of(kind)
        if plan is None:
            raise ValueError(f"the study plans no {kind} sum")
        codec = codec_for(
            plan,
            length=Dimensions.of(study).of_kind(kind),
            max_patients=study.cohort.max_patients_per_site,
            sites=sites,
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

    def plan(self, study: Study, *, sites: int, colluding: int) -> PrivacyPlan:
        """The plan of these sums, whose epsilon is within the study's."""
        return plan_for(
            study,
            sites=sites,
            coordinates=Dimensions.of(study).longest,
            pooled=self._pooled,
            colluding=colluding,
        )


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
