"""Canaries: invented patients, each in the study by the toss of a coin, each with its own column.

Real patients have zero in every canary's column, and canaries zero in each other's, so what a
release holds in a column is one canary's clipped contribution, or none, and noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.reference_gradients import first_layer_width, patient_gradient
from fedward.client.cohort import Cohort
from fedward.common.privacy.sum_plan import SCALER_CLIP
from fedward.common.study.dimensions import study_model
from fedward.common.study.scaling import moments_unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Canaries:
    """Who would be where, who is there, and with what outcome; all ``[canaries]``.

    ``site`` is a position in ``sites``.
    """

    sites: tuple[str, ...]
    site: NDArray[np.int64]
    included: NDArray[np.bool_]
    positive: NDArray[np.bool_]

    @classmethod
    def toss(
        cls,
        count: int,
        *,
        sites: Sequence[str],
        both_outcomes: bool,
        share: float = 0.5,
        generator: np.random.Generator,
    ) -> Canaries:
        """Deal canaries evenly to the sites; each is included with probability ``share``."""
        positive = generator.random(count) < 0.5
        return cls(
            sites=tuple(sites),
            site=generator.permutation(np.arange(count) % len(sites)),
            included=generator.random(count) < share,
            positive=positive if both_outcomes else np.ones(count, dtype=np.bool_),
        )

    def at(self, site: str) -> NDArray[np.int64]:
        """The canaries that are at this site."""
        if site not in self.sites:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.included & (self.site == self.sites.index(site)))

    def cohorts(self, real: Mapping[str, Cohort], *, audit: AuditStudy) -> dict[str, Cohort]:
        """Every site's patients: its real ones and its canaries."""
        return {
            site: audit.with_canaries(
                cohort, canaries=self.at(site), positive=self.positive[self.at(site)]
            )
            for site, cohort in real.items()
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class CanaryShape:
    """How a canary's clipped gradient lies in the parameters, the same for each but the column.

    ``directions`` are unit vectors ``[outcomes, width]`` over the parameters of its column,
    negative outcome first; ``strengths`` ``[outcomes]`` the length of that part in clips.
    ``moments`` is the length, in clips, of what it adds to the sum for the scaler.
    """

    directions: NDArray[np.float64]
    strengths: NDArray[np.float64]
    moments: float

    @classmethod
    def of(cls, audit: AuditStudy, parameters: NDArray[np.float64]) -> CanaryShape:
        """Find it by brute force at the auditor's parameters.

        Raises ValueError for a model that does not begin with a weight for each column.
        """
        model, clip = study_model(audit.study), audit.study.privacy.clip
        width = first_layer_width(model)
        features = np.zeros((1, audit.columns))
        features[0, audit.real_columns] = audit.amplitude
        directions = np.zeros((2, width))
        strengths = np.zeros(2)
        for outcome in (0, 1):
            gradient = patient_gradient(
                model, parameters, features, np.array([outcome], dtype=np.float64)
            )
            own = gradient[: width * audit.columns].reshape(width, -1)[:, audit.real_columns]
            norm, length = float(np.linalg.norm(gradient)), float(np.linalg.norm(own))
            directions[outcome] = own / length if length > 0 else 0.0
            strengths[outcome] = length / max(norm, clip)
        moments = min(SCALER_CLIP, np.sqrt(2) / moments_unit(audit.columns))
        return cls(directions=directions, strengths=strengths, moments=float(moments))


def canary_columns(values: NDArray[np.float64], *, audit: AuditStudy) -> NDArray[np.float64]:
    """The parameters of the canaries' columns: ``[..., width, canaries]`` of ``[..., params]``."""
    width = first_layer_width(study_model(audit.study))
    first = values[..., : width * audit.columns]
    by_column = first.reshape(*values.shape[:-1], width, audit.columns)
    return by_column[..., audit.real_columns :]


def canary_moments(values: NDArray[np.float64], *, audit: AuditStudy) -> NDArray[np.float64]:
    """First and second moments of the canaries' columns, ``[..., 2, canaries]``."""
    by_column = values.reshape(*values.shape[:-1], 2, audit.columns)
    return by_column[..., audit.real_columns :]


def amounts(
    columns: NDArray[np.float64], shape: CanaryShape, positive: NDArray[np.bool_], *, clip: float
) -> NDArray[np.float64]:
    """How much of each canary lies in its column, ``[..., canaries]``: 1 if it was summed, else 0.

    ``columns`` are ``[..., width, canaries]`` in the units of the sum; noise comes on top.
    """
    outcome = positive.astype(np.int64)
    along = np.einsum("...wc,cw->...c", columns, shape.directions[outcome])
    found: NDArray[np.float64] = along / (clip * shape.strengths[outcome])
    return found
