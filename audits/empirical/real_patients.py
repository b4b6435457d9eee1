"""Patients for a rehearsal without data: uniform over the public ranges."""

from __future__ import annotations

import numpy as np

from fedward.client.cohort import Cohort
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Study

MOST_INVENTED = 100
"""At one site; what an audit measures does not depend on how many there are."""


def invented_cohorts(
    study: Study, *, sites: int, generator: np.random.Generator
) -> dict[str, Cohort]:
    """Cohorts of ``sites`` sites in the study's columns, every fourth patient with two rows."""
    count = max(4, min(MOST_INVENTED, study.cohort.expected_patients // sites))
    digits = len(str(sites))
    return {
        f"site-{number:0{digits}d}": invented_cohort(study, patients=count, generator=generator)
        for number in range(1, sites + 1)
    }


def invented_cohort(study: Study, *, patients: int, generator: np.random.Generator) -> Cohort:
    """One site's patients; 0/1 columns are fair coins, whatever categories exclude each other."""
    columns = design_columns(study)
    owners = np.sort(np.concatenate([np.arange(patients), np.arange(0, patients, 4)]))
    features = generator.uniform(-1.0, 1.0, (len(owners), len(columns)))
    binary = np.array([column.binary for column in columns])
    features[:, binary] = features[:, binary] > 0
    return Cohort.from_rows(
        features=features,
        target=generator.integers(0, 2, len(owners)).astype(np.float64),
        patients=owners,
    )
