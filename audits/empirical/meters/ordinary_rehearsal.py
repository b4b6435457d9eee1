"""A rehearsal of everything that a study releases, with noise, over a few invented patients.

Sums are held against a twin's, whose vaults leave the noise out. Where who is in a sum is left to
chance, or noise moves the model between local steps, no twin does the same: there all outcomes are
negative and the model is certain of it, so that no patient has a gradient and a sum is all noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.meters.bare_rehearsal import (
    SMALL_SITE,
    rounds_needed,
    small_size,
)
from fedward.audits.empirical.meters.noise import SharedNoise
from fedward.audits.empirical.meters.planned_noise import (
    beside_nothing,
    difference_to,
    noise_of,
    of_real_patients,
)
from fedward.audits.empirical.real_patients import invented_cohort
from fedward.audits.empirical.rehearsed_sites import BareProtection, RehearsedSites
from fedward.client.cohort import Cohort
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

UNUSED = 256
"""Columns with nothing in them."""
REPEATS = 12
"""Fresh federations, because a run holds sums of some kinds but once."""
PATIENTS = 12
"""At each site, training and held out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OrdinaryRehearsal:
    """The federations that were asked, and a twin of them without noise."""

    audit: AuditStudy
    plan: PrivacyPlan
    asked: tuple[RehearsedSites, ...]
    twin: RehearsedSites
    parameters: NDArray[np.float64]
    saturated: bool

    def noise(self) -> Iterator[SharedNoise]:
        """In all coordinates of each kind of sum; the training's first."""
        sites = len(self.twin.roster)
        for kind in sorted(self.plan.sums, key=lambda kind: kind != "training"):
            nothing = self.saturated and kind == "training"
            yield noise_of(
                self.asked,
                kind,
                audit=self.audit,
                plan=self.plan,
                sites=self.twin.roster,
                read=beside_nothing(self.audit, self.parameters, sites=sites)
                if nothing
                else difference_to(self.twin, kind),
            )

    def of_real_patients(self) -> dict[str, NDArray[np.bool_]]:
        """Which coordinates are not the canaries', of the kinds of sum that have some."""
        lengths = Dimensions.of(self.audit.study)
        kinds: tuple[Literal["moments", "training"], ...] = ("moments", "training")
        return {
            kind: of_real_patients(kind, self.audit, length=lengths.of_kind(kind))
            for kind in kinds
            if self.plan.of(kind) is not None
        }


def ordinary_rehearsal(
    study: Study, *, seed: int | None, generator: np.random.Generator
) -> OrdinaryRehearsal:
    """Ask fresh federations for all sums of the study, and some rounds of its training."""
    audit = ordinary_study(study)
    rate = study.training.sampling_rate
    saturated = rate < 1.0 or audit.is_local
    parameters = audit.parameters(certain=saturated)
    cohorts = site_cohorts(audit, study, rate=rate, negative=saturated, generator=generator)
    held_out = {
        site: _with_columns(audit, invented_cohort(study, patients=PATIENTS, generator=generator))
        for site in cohorts
    }
    plan = plan_for(audit.study, sites=len(cohorts), coordinates=Dimensions.of(audit.study).longest)
    needed = rounds_needed(rate) if rate < 1.0 and not audit.is_local else REPEATS
    rounds = min(study.training.rounds, math.ceil(needed / REPEATS))
    asked = tuple(
        RehearsedSites(
            audit.study, cohorts, held_out=held_out, seed=seed, run_id=f"audit-ordinary-{number}"
        )
        for number in range(REPEATS)
    )
    for one in asked:
        ask_everything(one, audit, plan, parameters, rounds=rounds)
    twin = RehearsedSites(
        audit.study,
        cohorts,
        held_out=held_out,
        protection=BareProtection(),
        seed=seed,
        run_id="audit-twin",
    )
    ask_everything(twin, audit, plan, parameters, rounds=1)
    return OrdinaryRehearsal(
        audit=audit, plan=plan, asked=asked, twin=twin, parameters=parameters, saturated=saturated
    )


def ordinary_study(study: Study) -> AuditStudy:
    """The study with columns that nobody uses."""
    bound = max(study.cohort.max_patients_per_site, PATIENTS)
    cohort = study.cohort.model_copy(update={"max_patients_per_site": bound})
    return AuditStudy.of(study, canaries=UNUSED, cohort=cohort)


def site_cohorts(
    audit: AuditStudy,
    study: Study,
    *,
    rate: float,
    negative: bool,
    generator: np.random.Generator,
) -> Mapping[str, Cohort]:
    """As few sites as the study allows; the last so small that batches of it may be empty.

    ``negative`` gives all patients the negative outcome.
    """
    count = max(2, study.cohort.minimum_sites, study.privacy.colluding + 1)
    sizes = {f"site-{number}": PATIENTS for number in range(1, count + 1)}
    if rate < 1.0:
        sizes[SMALL_SITE] = min(PATIENTS, small_size(rate))
    cohorts = {
        site: _with_columns(audit, invented_cohort(study, patients=size, generator=generator))
        for site, size in sizes.items()
    }
    if negative:
        return {
            site: replace(one, target=np.zeros_like(one.target)) for site, one in cohorts.items()
        }
    return cohorts


def ask_everything(
    asked: RehearsedSites,
    audit: AuditStudy,
    plan: PrivacyPlan,
    parameters: NDArray[np.float64],
    *,
    rounds: int,
) -> None:
    """Ask for each kind of sum once, and for so many rounds of training."""
    arrays = {"parameters": parameters} | audit.scaler()
    kinds: list[SumKind] = ["moments", "counts", "evaluation", "site_evaluation"]
    for kind in kinds:
        if plan.of(kind) is not None:
            asked.ask_once(kind, arrays)
    for number in range(1, rounds + 1):
        asked.ask("training", round_number=number, arrays=arrays)


def _with_columns(audit: AuditStudy, real: Cohort) -> Cohort:
    nobody = np.zeros(0, dtype=np.int64)
    return audit.with_canaries(real, canaries=nobody, positive=nobody.astype(np.bool_))
