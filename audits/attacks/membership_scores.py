"""Scores of membership from released sums: who must have been in them, by what was added up.

The attacker knows the candidates' records, so it knows what each would add to a sum at any model.
With ``s`` the unknown memberships, a release is ``M^T u + noise``, ``M [candidates, parameters]``
the clipped gradients and ``u = s * weight``, the weight by who was sampled. The score is the mean
of ``s`` given all releases if everything were Gaussian; in that case no statistic tells more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from fedward.audits.attacks.local_steps import LinearSteps

_PRIOR_VARIANCE = 0.25
"""Of a membership that is a fair coin."""
_FLOOR = 1e-9
"""Least variance of the noise, as a share of a gradient's mean square: rounding is not nothing."""


class ReleaseScores:
    """Takes in releases one by one, the observed one and shadows, and scores each candidate.

    ``members`` is ``[candidates, runs]``: column 0 is what really happened and is not used for
    scores; the others are the memberships of shadow runs, whose releases are drawn here.
    """

    def __init__(
        self,
        members: NDArray[np.bool_],
        *,
        steps: LinearSteps,
        generator: np.random.Generator,
    ) -> None:
        self._members = members
        self._steps = steps
        self._generator = generator
        count = len(members)
        self._information = np.zeros((count, count))
        self._evidence = np.zeros(members.shape)

    def add(
        self,
        gradients: NDArray[np.float64],
        inner: NDArray[np.float64],
        observed: NDArray[np.float64],
        *,
        noise_deviation: float,
    ) -> None:
        """Take in one release ``[parameters]`` at ``gradients [candidates, parameters]``.

        ``inner`` are the gradients' inner products, ``[candidates, candidates]``;
        ``noise_deviation`` is that of the noise in each coordinate.
        """
        steps = self._steps
        shadows = self._members[:, 1:]
        weights = shadows * steps.draw(shadows.shape, self._generator)
        products = np.empty(self._members.shape)
        products[:, 0] = gradients @ (steps.sign * observed)
        products[:, 1:] = inner @ weights
        if noise_deviation > 0:
            drawn = self._generator.standard_normal((gradients.shape[1], shadows.shape[1]))
            products[:, 1:] += noise_deviation * (gradients @ drawn)
        # A member's weight varies with who is sampled: half are members.
        sampled = steps.variance / 2
        floor = _FLOOR * max(steps.mean**2, steps.variance) * float(np.trace(inner)) / len(inner)
        variance = max(noise_deviation**2, floor, 1e-300)
        products -= steps.mean * inner.sum(axis=1, keepdims=True) / 2
        if sampled == 0:
            self._information += (steps.mean**2 / variance) * inner
            self._evidence += (steps.mean / variance) * products
            return
        factor = cho_factor(sampled * inner + variance * np.eye(len(inner)))
        self._information += steps.mean**2 * cho_solve(factor, inner)
        self._evidence += steps.mean * cho_solve(factor, products)

    def scores(self) -> NDArray[np.float64]:
        """Scores ``[candidates, runs]``, higher for members."""
        precision = self._information + np.eye(len(self._information)) / _PRIOR_VARIANCE
        return np.asarray(np.linalg.solve(precision, self._evidence), dtype=np.float64)


def likelihood_ratios(
    scores: NDArray[np.float64], members: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """LiRA's log likelihood ratio for column 0, by Gaussians fitted to the shadows.

    Carlini et al. 2022, "Membership Inference Attacks From First Principles", algorithm 1 (online):
    for each candidate one Gaussian over the shadow runs that it was in and one over those that it
    was not in. The variance is common to all candidates, as they advise for few shadows.
    """
    observed, shadows, held = scores[:, 0], scores[:, 1:], members[:, 1:]
    inside = _means(shadows, held)
    outside = _means(shadows, ~held)
    centred = shadows - np.where(held, inside[:, None], outside[:, None])
    variance = max(float((centred**2).mean()), 1e-300)
    ratio: NDArray[np.float64] = ((observed - outside) ** 2 - (observed - inside) ** 2) / (
        2 * variance
    )
    return ratio


def _means(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray((values * chosen).sum(axis=1) / chosen.sum(axis=1), dtype=np.float64)
