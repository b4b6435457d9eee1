r"""Fixed-point sums in the ring Z/2^64, and the sensitivity that the encoding costs.

A clipped sum is multiplied by ``scale``, rounded to integers once, and gets discrete Gaussian
noise; releases add up modulo 2^64, so that uniform masks can hide them. Three effects of finite
precision are charged, so that a noise multiplier keeps its meaning to the last digit:

1. *Rounding.* Two neighbouring sums are rounded, each by at most 1/2 per coordinate: together
   sqrt(length) units in L2.
2. *Summation.* A float64 sum of n vectors of norm at most clip, in any order, is off by at most
   gamma_n n clip, gamma_n = n u / (1 - n u), u = 2^-53 (Higham 2002, section 4.2), in each of the
   two neighbours. Order may depend on who is in the sum, hence twice the bound for n =
   max_patients: 0.024 % for 2^20 patients at one site, 6 % for 2^24; and no less than 2^-16, which
   leaves room for rounding within one patient's contribution.
3. *Discreteness.* Sites' shares are discrete Gaussians, the accountants assume continuous ones.
   A discrete Gaussian of variance r^2 + s^2 is what a continuous one of variance r^2 becomes by
   randomised rounding, a post-processing, up to a factor within 1 +- 5 exp(-2 pi^2 s^2) (Peikert
   2010, "An Efficient and Parallel Gaussian Sampler for Lattices", theorem 3.1). With s = 4 that
   is 2^-452 (within the gap per draw that the plan takes off delta), and holds for each share,
   any number of sites, sampling and composition. So s^2 = 16 is added to each share's variance.

Not covered: a contribution whose norm exceeds the clip by more than rounding; its maker answers
for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.discrete_gaussian_table import LARGEST_SIGMA, TAIL_SIGMAS

RESOLUTION_BITS = 24
"""One clip is at least two to this power units, unless a sum without noise asks for more."""
SMOOTHING_UNITS = 4.0
"""Standard deviation given to randomised rounding; see point 3 of the module."""

_UNIT_ROUNDOFF = 2.0**-53
_SMALLEST_ROUNDING = 2.0**-16
_LARGEST_SUM = 2**62
_BLOCK = 1 << 13
"""Coordinates worked on at once, so that what lies between stays in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class RingCodec:
    """Encodes one site's clipped sum, and decodes the sum over sites.

    ``clip`` is one patient's L2 bound, ``length`` the number of coordinates, ``max_patients`` the
    bound per site, ``noise_multiplier`` that of the sum (no share is larger; 0 for sums that get no
    noise). Raises :class:`PrivacyRefusal` if the sum over ``sites`` could ever reach 2^62 units.
    """

    clip: float
    length: int
    max_patients: int
    sites: int
    noise_multiplier: float
    resolution_bits: int = RESOLUTION_BITS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise ValueError(f"clip must be finite and > 0: {self.clip}")
        if min(self.length, self.max_patients, self.sites) < 1:
            raise ValueError("length, max_patients and sites must be at least 1")
        if self.resolution_bits < RESOLUTION_BITS:
            raise ValueError(f"resolution_bits must be at least {RESOLUTION_BITS}")
        if not 0 <= self.summation_rounding < 1:
            raise PrivacyRefusal(
                f"Sums of {self.max_patients} patients are not exact enough in float64; lower "
                "cohort.max_patients_per_site."
            )
        sigma = self.noise_sigma_units(self.noise_multiplier) if self.noise_multiplier else 0.0
        signal = self._largest_norm_units + math.sqrt(self.length)
        # The sampler yields nothing beyond TAIL_SIGMAS sigma and two bins of sigma/16 (or 1 unit).
        total = self.sites * (signal + (TAIL_SIGMAS + 1) * sigma + 2)
        if not (total < _LARGEST_SUM and sigma <= LARGEST_SIGMA):
            raise PrivacyRefusal(
                f"A sum over {self.sites} sites of up to {self.max_patients} patients with noise "
                f"multiplier {self.noise_multiplier:g} does not fit the ring; lower "
                "cohort.max_patients_per_site or raise epsilon."
            )

    @property
    def scale_bits(self) -> int:
        """The smallest b with ``clip * 2^b >= 2^resolution_bits``; below 0 for a huge clip."""
        # clip = mantissa * 2^exponent with a mantissa from 1/2 to below 1
        return self.resolution_bits + 1 - math.frexp(self.clip)[1]

    @property
    def scale(self) -> float:
        """Units per 1.0: ``2^scale_bits``."""
        return math.ldexp(1.0, self.scale_bits)

    @property
    def sensitivity_units(self) -> float:
        """L2 distance of two neighbours' encoded sums at most: clip, rounding and summation."""
        return self.clip * self.scale * (1 + self.summation_rounding) + math.sqrt(self.length)

    def noise_sigma_units(self, share_multiplier: float) -> float:
        """Parameter of the discrete Gaussian for one site's share, in units."""
        if not (math.isfinite(share_multiplier) and share_multiplier > 0):
            raise ValueError(f"share_multiplier must be finite and > 0: {share_multiplier}")
        return math.hypot(share_multiplier * self.sensitivity_units, SMOOTHING_UNITS)

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.uint64]:
        """One site's sum, float64 [length], as ring elements, uint64 [length].

        Raises :class:`PrivacyRefusal` on NaN, infinity or a norm above ``max_patients * clip``.
        """
        if values.dtype != np.float64 or values.shape != (self.length,):
            raise ValueError(f"expected float64 [{self.length}], got {values.dtype} {values.shape}")
        elements = np.empty(self.length, dtype=np.int64)
        buffer = np.empty(min(self.length, _BLOCK))
        squares = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, self.length, _BLOCK):
                part = values[first : first + _BLOCK]
                units = np.multiply(part, self.scale, out=buffer[: part.size])
                squares += float(np.dot(units, units))
                np.rint(units, out=units)
                elements[first : first + _BLOCK] = units
        if not math.sqrt(squares) <= self._largest_norm_units:  # also if it is NaN
            raise PrivacyRefusal(
                "A sum holds NaN or infinity, or is larger than all patients' clips together; "
                "nothing is released."
            )
        return elements.view(np.uint64)

    def decode(self, elements: NDArray[np.uint64]) -> NDArray[np.float64]:
        """A sum over sites, uint64 [length], as float64 [length]; inverse of the scaling."""
        if elements.shape != (self.length,):
            raise ValueError(f"expected uint64 [{self.length}], got {elements.shape}")
        return decode_units(elements, scale_bits=self.scale_bits)

    @property
    def summation_rounding(self) -> float:
        """L2 change by float64 rounding, in clips, between two neighbours' sums: point 2."""
        steps = self.max_patients * _UNIT_ROUNDOFF
        return max(2 * steps / (1 - steps) * self.max_patients, _SMALLEST_ROUNDING)

    @property
    def _largest_norm_units(self) -> float:
        """All patients' clips together, with the error of the sum and of the norm itself."""
        slack = 1 + self.summation_rounding + 4 * self.length * _UNIT_ROUNDOFF
        return self.max_patients * self.clip * self.scale * slack


def decode_units(elements: NDArray[np.uint64], *, scale_bits: int) -> NDArray[np.float64]:
    """Ring elements as float64: centred around 0 and divided by ``2^scale_bits``."""
    if elements.dtype != np.uint64:
        raise ValueError(f"expected uint64, got {elements.dtype}")
    return np.ldexp(elements.view(np.int64).astype(np.float64), -scale_bits)
