"""The meter of masks: they hide every summand, and leave the sum as it is.

These vaults are a hospital's in all: session desk, masks, and ledgers in files.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.meters.levels import (
    chi_square_p,
    judged,
    smallest,
)
from fedward.audits.empirical.meters.ordinary_rehearsal import (
    ask_everything,
    ordinary_study,
    site_cohorts,
)
from fedward.audits.empirical.meters.planned_noise import beside_nothing, share_deviation
from fedward.audits.empirical.rehearsed_sites import RehearsedSites, Release
from fedward.audits.empirical.result import MeterResult
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.secure_sum.ring import decode_units
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

ROUNDS = 4
_BITS = 4
"""Of a summand, the highest, whose frequencies are counted."""


def mask_meter(
    study: Study, *, seed: int | None, generator: np.random.Generator
) -> tuple[MeterResult, RehearsedSites]:
    """Rehearse some masked rounds: summands look uniform, their sum has the noise of all sites."""
    audit = ordinary_study(study)
    cohorts = site_cohorts(
        audit, study, rate=study.training.sampling_rate, negative=True, generator=generator
    )
    parameters = audit.parameters(certain=True)
    plan = plan_for(audit.study, sites=len(cohorts), coordinates=Dimensions.of(audit.study).longest)
    rounds = min(ROUNDS, study.training.rounds)
    with TemporaryDirectory() as folder:
        asked = RehearsedSites(
            audit.study,
            cohorts,
            masked=True,
            ledger_folder=Path(folder),
            seed=seed,
            run_id="audit-masked",
        )
        try:
            ask_everything(asked, audit, plan, parameters, rounds=rounds)
        finally:
            asked.ledgers.close()
    hidden = [one for one in asked.releases if one.kind == "training"]
    bare = [one.site for one in hidden if not one.masked]
    noise = _noise_of_sum(asked, audit, plan, parameters)
    uniform = _uniform_p(np.concatenate([one.elements for one in hidden]))
    p_values = [chi_square_p(float(np.sum(noise**2)), noise.size), uniform]
    meter = judged(
        "masks",
        "Masked summands look like uniform numbers, and their sum holds the noise of all sites and "
        "no mask.",
        p_value=0.0 if bare else smallest(np.array(p_values)),
        observed=float(np.mean(noise**2)),
        expected=1.0,
        unit="planned variances of the sum",
        where=", ".join(sorted(set(bare))) if bare else "sum over all sites",
    )
    return meter, asked


def _noise_of_sum(
    asked: RehearsedSites,
    audit: AuditStudy,
    plan: PrivacyPlan,
    parameters: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The noise in the sums over all sites, in units of what all shares add up to."""
    rounds: dict[int, list[Release]] = {}
    for one in asked.releases:
        if one.kind == "training":
            rounds.setdefault(one.round, []).append(one)
    sums = [
        decode_units(
            np.sum([one.elements for one in parts], axis=0, dtype=np.uint64),
            scale_bits=parts[0].scale_bits,
        )
        for parts in rounds.values()
    ]
    sites = len(asked.roster)
    # Every site's update carries the start along.
    read = beside_nothing(audit, sites * parameters, sites=sites)
    noise = read("all", np.array(sums))
    unit = share_deviation(audit, plan, "training") * np.sqrt(len(asked.roster))
    return np.asarray(noise / unit, dtype=np.float64)


def _uniform_p(elements: NDArray[np.uint64]) -> float:
    """Of the highest bits of all summands being equally frequent."""
    places = 2**_BITS
    counts = np.bincount((elements >> np.uint64(64 - _BITS)).astype(np.int64), minlength=places)
    expected = elements.size / places
    return chi_square_p(float(np.sum((counts - expected) ** 2) / expected), places - 1)
