"""What a cohort must be before a vault takes it in: as its study and the ring were sized for."""

from __future__ import annotations

import numpy as np

from fedward.client.cohort import Cohort
from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions


def check_cohort(site: str, cohort: Cohort, study: Study, *, held_out: bool = False) -> None:
    """Refuse a cohort whose sums could exceed what they are clipped to, or the ring.

    Held-out patients may be none; training patients may not.

    Raises:
        ValueError: other columns than the study's, features outside [-1, 1], or outcomes other
            than 0 and 1.
        InputError: no patient, or more than the study's ``max_patients_per_site``.
    """
    columns = Dimensions.of(study).columns
    if cohort.features.shape[1] != columns:
        raise ValueError(f"{site}: cohort has {cohort.features.shape[1]} columns, not {columns}")
    # Written so that NaN is refused as well.
    if not (np.abs(cohort.features) <= 1).all():
        raise ValueError(f"{site}: features must lie in [-1, 1]")
    if not np.isin(cohort.target, (0.0, 1.0)).all():
        raise ValueError(f"{site}: outcomes must be 0 or 1")
    if cohort.patient_count == 0 and not held_out:
        raise InputError(
            source=site, field="", problem="has no patient for this study", fix="leave the site out"
        )
    if cohort.patient_count > study.cohort.max_patients_per_site:
        raise InputError(
            source=site,
            field="",
            problem=f"has more {'held-out ' if held_out else ''}patients than "
            f"cohort.max_patients_per_site = {study.cohort.max_patients_per_site}",
            fix="raise that bound in the study",
        )
