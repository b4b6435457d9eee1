"""The meter of sensitivity: one patient more moves no sum by more than its clip.

Of the sums that no gradient is in: the scaler's, the counts' and the evaluations'. Each is asked of
bare vaults over all patients, and again with a patient left out, of those in training as of those
held out; and again with one left out of either part alone, which must not move the other's sums.
"""

from __future__ import annotations

import numpy as np

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.meters.levels import decided, not_applicable
from fedward.audits.empirical.real_patients import invented_cohort
from fedward.audits.empirical.rehearsed_sites import Arrays, BareProtection, RehearsedSites
from fedward.audits.empirical.result import MeterResult
from fedward.audits.findings import Finding
from fedward.client.cohort import Cohort
from fedward.common.privacy.plan import plan_for
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

NAME = "sensitivity_of_other_sums"
PATIENTS = 5
"""Patients at the first site, each left out in turn; the first is at the edge of every range."""
_TOLERANCE = 1e-4
_KINDS: tuple[SumKind, ...] = ("moments", "counts", "evaluation", "site_evaluation")


def sensitivity_meter(
    study: Study, *, seed: int | None, generator: np.random.Generator
) -> tuple[MeterResult, tuple[RehearsedSites, ...]]:
    """Leave each of a few patients out and measure by how much every sum moves, in clips."""
    bound = max(study.cohort.max_patients_per_site, PATIENTS)
    audit = AuditStudy.of(
        study, canaries=1, cohort=study.cohort.model_copy(update={"max_patients_per_site": bound})
    )
    count = max(2, study.cohort.minimum_sites, study.privacy.colluding + 1)
    plan = plan_for(audit.study, sites=count, coordinates=Dimensions.of(audit.study).longest)
    kinds = [kind for kind in _KINDS if plan.of(kind) is not None]
    if not kinds:
        return not_applicable(NAME, "The study releases training sums alone."), ()
    cohorts = {f"site-{number}": _cohort(audit, study, generator) for number in range(1, count + 1)}
    first = next(iter(cohorts))
    arrays = {"parameters": audit.parameters()} | audit.scaler()
    everyone = _asked(audit, cohorts, cohorts, kinds, arrays, seed=seed, run_id="audit-all")
    asked = [everyone]
    largest, findings = 0.0, []
    for left_out in range(PATIENTS):
        kept = np.delete(np.arange(PATIENTS), left_out)
        fewer = cohorts | {first: cohorts[first].take(kept)}
        run_id = f"audit-without-{left_out}"
        one = _asked(audit, fewer, fewer, kinds, arrays, seed=seed, run_id=run_id)
        asked.append(one)
        for kind in kinds:
            planned = plan.of(kind)
            moved = everyone.values(kind, first)[0] - one.values(kind, first)[0]
            clips = float(np.linalg.norm(moved)) / (planned.clip if planned else np.nan)
            largest = max(largest, clips)
            if not clips <= 1 + _TOLERANCE:
                sentence = f"One patient moves the {kind} sum by {clips:.6g} clips."
                findings.append(Finding(severity="error", where=first, sentence=sentence))
    fewer = cohorts | {first: cohorts[first].take(np.arange(1, PATIENTS))}
    trained = _asked(audit, fewer, cohorts, kinds, arrays, seed=seed, run_id="audit-fewer-trained")
    held = _asked(audit, cohorts, fewer, kinds, arrays, seed=seed, run_id="audit-fewer-held-out")
    asked += [trained, held]
    for kind in kinds:
        evaluates = kind in {"evaluation", "site_evaluation"}
        one, who = (trained, "training") if evaluates else (held, "held-out")
        planned = plan.of(kind)
        moved = everyone.values(kind, first)[0] - one.values(kind, first)[0]
        if not float(np.linalg.norm(moved)) <= _TOLERANCE * (planned.clip if planned else np.nan):
            sentence = f"A {who} patient moves the {kind} sum, which is not over such patients."
            findings.append(Finding(severity="error", where=first, sentence=sentence))
    meter = decided(
        NAME,
        f"One patient more or less moves no sum of another kind ({', '.join(kinds)}) by more than "
        "its clip, and one held out moves none but evaluations, which no other one moves.",
        findings=tuple(findings),
        observed=largest,
        expected=1.0,
        unit="clips (the largest move; at most 1)",
    )
    return meter, tuple(asked)


def _asked(
    audit: AuditStudy,
    cohorts: dict[str, Cohort],
    held_out: dict[str, Cohort],
    kinds: list[SumKind],
    arrays: Arrays,
    *,
    seed: int | None,
    run_id: str,
) -> RehearsedSites:
    asked = RehearsedSites(
        audit.study,
        cohorts,
        held_out=held_out,
        protection=BareProtection(),
        seed=seed,
        run_id=run_id,
    )
    for kind in kinds:
        asked.ask_once(kind, arrays)
    return asked


def _cohort(audit: AuditStudy, study: Study, generator: np.random.Generator) -> Cohort:
    """Invented patients in the audit study's columns, the first as extreme as ranges allow."""
    real = invented_cohort(study, patients=PATIENTS, generator=generator)
    features = np.zeros((len(real.target), audit.columns))
    features[:, : audit.real_columns] = real.features
    features[: real.offsets[1]] = 1.0
    return Cohort(features=features, target=real.target, offsets=real.offsets)
