"""Patients of a bare rehearsal: each has a column of its own, which tells if it was sampled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.client.cohort import Cohort

STEEP_EVERY = 4
"""Every fourth patient is a steep canary, with nothing but its column."""


def tagged_cohort(
    audit: AuditStudy, *, patients: int, generator: np.random.Generator, first: int = 0
) -> Cohort:
    """Patients 0, 1, ... in the audit study's columns.

    Patient ``p`` is tagged in canary column ``first + p``.

    In turn: a steep canary, whose gradient lies in its column; a patient with one row and one with
    three, whose gradients are spread over all layers and mostly clipped; and one with so little in
    it that its gradient is mostly not.
    """
    features, targets, owners = [], [], []
    for patient in range(patients):
        kind = patient % STEEP_EVERY
        rows = 3 if kind == 2 else 1
        own = np.zeros((rows, audit.columns))
        spread = (0.0, 1.0, 1.0, 0.1)[kind]
        own[:, : audit.real_columns] = spread * generator.uniform(-1, 1, (rows, audit.real_columns))
        tag = (audit.amplitude, 1.0, 1.0, 0.5)[kind]
        own[:, audit.real_columns + first + patient] = tag / audit.amplitude
        features.append(own)
        targets.append(generator.integers(0, 2, rows))
        owners.append(np.full(rows, patient))
    return Cohort.from_rows(
        features=np.concatenate(features),
        target=np.concatenate(targets).astype(np.float64),
        patients=np.concatenate(owners),
    )


def mixed_parameters(
    audit: AuditStudy, *, width: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Parameters at which all layers have gradients; still no weight on the patients' tags."""
    parameters = audit.parameters(certain=False)
    moved = parameters + 0.1 * generator.standard_normal(parameters.shape)
    moved[: width * audit.columns].reshape(width, -1)[:, audit.real_columns :] = 0.0
    return np.asarray(moved, dtype=np.float64)
