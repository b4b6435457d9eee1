"""A rehearsal without noise: what the clip and the sampler did, patient by patient.

The vaults are real ones under the plan's rules, but for the noise, which they leave out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.canaries import canary_columns
from fedward.audits.empirical.local_steps import LocalSteps
from fedward.audits.empirical.meters.tagged_patients import mixed_parameters, tagged_cohort
from fedward.audits.empirical.reference_gradients import clipped_gradients, first_layer_width
from fedward.audits.empirical.rehearsal import training_places, training_releases
from fedward.audits.empirical.rehearsed_sites import BareProtection, RehearsedSites
from fedward.client.cohort import Cohort
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions, study_model

TAGGED = 48
"""Training patients at each site."""
HELD_OUT = 4
"""Patients at each site who must be in no training sum, with tags behind the others'."""
SMALL_SITE = "zz-small"
"""A site with so few patients that many of its batches are empty; there if batches are sampled."""
FEWEST_ROUNDS = 60
MOST_ROUNDS = 400
_SURE = 21.0
"""Empty batches are looked for until exp(-21) is the chance to miss them all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BareRehearsal:
    """Bare training sums and what they should be.

    By site: ``totals`` ``[releases, parameters]``, ``terms`` ``[patients, parameters]`` each
    patient's clipped gradient by brute force, ``sampled`` ``[releases, patients]`` who was in.
    ``starved`` are patients with too little in their tag to be told from nobody.
    """

    audit: AuditStudy
    asked: tuple[RehearsedSites, ...]
    totals: Mapping[str, NDArray[np.float64]]
    terms: Mapping[str, NDArray[np.float64]]
    sampled: Mapping[str, NDArray[np.bool_]]
    rate: float
    starved: int


def bare_rehearsal(
    study: Study, *, seed: int | None, generator: np.random.Generator
) -> BareRehearsal:
    """Rehearse training sums over tagged patients.

    Local training is rehearsed with one step over everyone, after which an update is one sum.
    """
    audit = audit_study(study)
    rate = audit.study.training.sampling_rate
    cohorts = cohorts_of(audit, rate=rate, generator=generator)
    model, clip = study_model(audit.study), study.privacy.clip
    width = first_layer_width(model)
    parameters = mixed_parameters(audit, width=width, generator=generator)
    scaled = audit.scaler()
    terms = {
        site: clipped_gradients(
            model, parameters, _scaled(cohort, scaled, audit.amplitude), clip=clip
        )
        for site, cohort in cohorts.items()
    }
    rounds = 2 if rate == 1.0 else rounds_needed(rate)
    held_out = {
        site: tagged_cohort(audit, patients=HELD_OUT, first=TAGGED, generator=generator)
        for site in cohorts
    }
    asked = bare_rounds(
        audit,
        cohorts,
        parameters,
        held_out=held_out,
        rounds=rounds,
        seed=seed,
        run_id="audit-bare",
    )
    totals = {
        site: np.concatenate([one.values("training", site) for one in asked]) for site in cohorts
    }
    if audit.is_local:
        steps = LocalSteps.of(audit.study, sites=len(cohorts))
        totals = {site: steps.read(total, parameters) for site, total in totals.items()}
    tags = {site: _tags(term, audit) for site, term in terms.items()}
    sampled = {
        site: np.ones((len(total), len(terms[site])), dtype=np.bool_)
        if rate == 1.0
        else (canary_columns(total, audit=audit)[..., : len(terms[site])] != 0).any(axis=-2)
        for site, total in totals.items()
    }
    return BareRehearsal(
        audit=audit,
        asked=tuple(asked),
        totals=totals,
        terms=terms,
        sampled=sampled,
        rate=rate,
        starved=sum(int((tag < 2.0**-20 * clip).sum()) for tag in tags.values()),
    )


def audit_study(study: Study) -> AuditStudy:
    """The study with a column for each tagged patient; local training in one full step."""
    bound = max(study.cohort.max_patients_per_site, TAGGED)
    tables = {"cohort": study.cohort.model_copy(update={"max_patients_per_site": bound})}
    if not isinstance(study.training, LocalTraining):
        return AuditStudy.of(study, canaries=TAGGED + HELD_OUT, **tables)
    one_step = study.training.model_copy(update={"epochs": 1, "sampling_rate": 1.0})
    return AuditStudy.of(study, canaries=TAGGED + HELD_OUT, training=one_step, **tables)


def cohorts_of(
    audit: AuditStudy, *, rate: float, generator: np.random.Generator
) -> dict[str, Cohort]:
    """As few sites as the study allows, and a small one if batches are sampled."""
    count = max(2, audit.study.cohort.minimum_sites, audit.study.privacy.colluding + 1)
    cohorts = {
        f"site-{number}": tagged_cohort(audit, patients=TAGGED, generator=generator)
        for number in range(1, count + 1)
    }
    if rate < 1.0:
        cohorts[SMALL_SITE] = tagged_cohort(audit, patients=small_size(rate), generator=generator)
    return cohorts


def small_size(rate: float) -> int:
    """As many patients as give an empty batch about every third time."""
    return min(TAGGED, max(1, round(-1 / math.log1p(-rate))))


def empty_chance(rate: float) -> float:
    """How often a batch of the small site is empty."""
    return float((1 - rate) ** small_size(rate))


def rounds_needed(rate: float) -> int:
    """So many that empty batches would be missed if they were skipped."""
    return min(MOST_ROUNDS, max(FEWEST_ROUNDS, math.ceil(_SURE / empty_chance(rate))))


def bare_rounds(
    audit: AuditStudy,
    cohorts: Mapping[str, Cohort],
    parameters: NDArray[np.float64],
    *,
    held_out: Mapping[str, Cohort] | None = None,
    rounds: int,
    seed: int | None,
    run_id: str,
) -> list[RehearsedSites]:
    """Ask bare vaults for at least so many training sums; fresh vaults where a budget ends."""
    plan = plan_for(audit.study, sites=len(cohorts), coordinates=Dimensions.of(audit.study).longest)
    most, _ = training_releases(plan, audit.study)
    arrays = {"parameters": parameters} | audit.scaler()
    asked: list[RehearsedSites] = []
    while rounds > 0:
        one = RehearsedSites(
            audit.study,
            cohorts,
            held_out=held_out,
            protection=BareProtection(),
            seed=seed,
            run_id=f"{run_id}-{len(asked)}",
        )
        asked.append(one)
        for number, attempt in training_places(audit.study, releases=min(most, rounds)):
            one.ask("training", round_number=number, attempt=attempt, arrays=arrays)
        rounds -= most
    return asked


def _scaled(cohort: Cohort, scaler: Mapping[str, NDArray[np.float64]], limit: float) -> Cohort:
    """As the study says that features are scaled; written out here, not taken from the vault."""
    moved = (cohort.features - scaler["center"]) / scaler["scale"]
    return Cohort(
        features=np.minimum(np.maximum(moved, -limit), limit),
        target=cohort.target,
        offsets=cohort.offsets,
    )


def _tags(terms: NDArray[np.float64], audit: AuditStudy) -> NDArray[np.float64]:
    columns = canary_columns(terms, audit=audit)
    patients = np.arange(len(terms))
    return np.asarray(np.linalg.norm(columns[patients, :, patients], axis=-1))
