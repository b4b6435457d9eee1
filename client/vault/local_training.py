"""Local DP-SGD: several epochs over a site's own patients, all of the noise added here.

Gradients of each patient come from Opacus (or a closed form); sampling, clipping bound, noise and
divisor are ours, because Opacus's noise is seedable float32 and its divisor leaks the cohort's
size. Noise is discrete Gaussian in the ring, as for every other sum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import KernelOptions, clipped_gradient_sum
from fedward.client.vault.protection import UPDATE_BOUND, SumRules
from fedward.common.models.registry import ModelFamily
from fedward.common.privacy.random_source import RandomStream
from fedward.common.study.definition import LocalTraining

StreamOf = Callable[[str, int], RandomStream]
"""Gives a fresh stream for a purpose and a local step."""


def local_update(
    *,
    model: ModelFamily,
    parameters: NDArray[np.float64],
    cohort: Cohort,
    training: LocalTraining,
    rules: SumRules,
    expected_patients: float,
    stream_of: StreamOf,
    performance: KernelOptions,
) -> NDArray[np.float64]:
    """Run the study's local steps from ``parameters`` and return their change.

    ``expected_patients`` is the public number of patients that a site is taken to have; each step
    divides its noised sum by ``expected_patients * sampling_rate``. The proximal term (Li et al.
    2020, eq. 2) and the L2 penalty do not depend on data and are added after the noise. The change
    is scaled down to an L2 norm of :data:`UPDATE_BOUND`, so that its ring cannot overflow.
    """
    weights = parameters.copy()
    velocity = np.zeros_like(weights)
    divisor = expected_patients * rules.sampling_rate
    # Weights that diverge are told by their norm at the end.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(training.steps_per_round):
            patients = sampled_patients(
                cohort, rate=rules.sampling_rate, stream=stream_of("sampling", step)
            )
            total = clipped_gradient_sum(
                model, weights, cohort, patients, clip=rules.clip, performance=performance
            )
            noised = rules.codec.decode(rules.noised(total, stream_of("noise", step)))
            gradient = noised / divisor + training.l2 * weights
            gradient += training.proximal * (weights - parameters)
            velocity = training.momentum * velocity + gradient
            weights = weights - training.learning_rate * velocity
        change = weights - parameters
        norm = float(np.linalg.norm(change))
    if not np.isfinite(norm):
        return np.zeros_like(change)
    return change * min(1.0, UPDATE_BOUND * (1 - 1e-9) / norm) if norm > 0 else change


def sampled_patients(
    cohort: Cohort, *, rate: float, stream: RandomStream
) -> NDArray[np.int64] | None:
    """Poisson-sample patients, each independently with ``rate``; None means everyone (rate 1)."""
    if rate == 1.0:
        return None
    return np.flatnonzero(stream.below_rate(cohort.patient_count, rate=rate)).astype(np.int64)
