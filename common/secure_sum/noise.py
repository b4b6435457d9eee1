"""One site's share of the noise of a sum: the only place where privacy noise is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.common.privacy.discrete_gaussian import add_discrete_gaussian
from fedward.common.privacy.plan import SumPlan
from fedward.common.privacy.random_source import RandomStream
from fedward.common.secure_sum.ring import RingCodec


def codec_for(plan: SumPlan, *, length: int, max_patients: int, sites: int) -> RingCodec:
    """The codec that all sites use for this sum; see :class:`RingCodec` for what it refuses."""
    return RingCodec(
        clip=plan.clip,
        length=length,
        max_patients=max_patients,
        sites=sites,
        noise_multiplier=plan.noise_multiplier,
    )


def noise_share(plan: SumPlan, codec: RingCodec, stream: RandomStream) -> NDArray[np.uint64]:
    """Fresh discrete Gaussian noise of one site for one release, as ring elements [length].

    A site whose batch is empty adds it too. Raises ``ValueError`` if ``codec`` was not made for
    ``plan``: noise must never stand beside another clip than the one it was calibrated for.
    """
    share = np.zeros(codec.length, dtype=np.uint64)
    add_noise_share(share, plan, codec, stream)
    return share


def add_noise_share(
    elements: NDArray[np.uint64], plan: SumPlan, codec: RingCodec, stream: RandomStream
) -> None:
    """Add :func:`noise_share` to an encoded sum, ring elements [length], in place.

    Raises ``ValueError``, and adds nothing, as there or for elements that are not ``codec``'s.
    """
    if (codec.clip, codec.noise_multiplier) != (plan.clip, plan.noise_multiplier):
        raise ValueError("the codec was made for another plan")
    if elements.dtype != np.uint64 or elements.shape != (codec.length,):
        raise ValueError(f"expected uint64 [{codec.length}], got {elements.dtype} {elements.shape}")
    sigma = codec.noise_sigma_units(plan.share_multiplier)
    add_discrete_gaussian(elements.view(np.int64), stream, sigma=sigma)
