"""Whether what a ledger charged for a study is what the study's calibrated plan demands."""

from __future__ import annotations

import math
from collections import Counter

from fedward.audits.books.chain_verification import ReadLedger
from fedward.audits.books.checks import Check
from fedward.audits.books.entry_rules import Reservation
from fedward.common.errors import PrivacyRefusal
from fedward.common.ledger.entries import ReleaseReserved
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions

_SAME = 1e-9
"""Relative difference of noise multipliers that is rounding."""


def check_study_plan(
    ledger: ReadLedger, reservations: tuple[Reservation, ...], study: Study, *, check: Check
) -> None:
    """Each release of this study against its plan over as many sites, and all against their number.

    A site may have drawn more noise than the plan's share, where its own policy expects more
    cheating than the study does; never less.
    """
    of_study = [one for one in reservations if one.entry.study_digest == study.digest]
    others = len(reservations) - len(of_study)
    if others:
        check.info(
            ledger.source,
            f"{others} of {len(reservations)} releases are of other studies, so they are not held "
            "against a plan",
        )
    if not of_study:
        check.missing(f"{ledger.site} holds no releases of {study.about.name}")
        return
    check.made()
    plans: dict[int, PrivacyPlan] = {}
    counts: Counter[SumKind] = Counter()
    for one in of_study:
        where, entry = ledger.where(one.read), one.entry
        told = entry.study_name, entry.delta, entry.holdout
        if told != (study.about.name, study.privacy.delta, study.evaluation.holdout):
            check.error(where, "tells another name, delta or holdout than the study has")
        try:
            plan = plans.get(entry.sites) or _plan(study, sites=entry.sites)
        except PrivacyRefusal as error:
            check.error(where, f"is over {entry.sites} sites, which no plan allows: {error}")
            continue
        plans[entry.sites] = plan
        for wrong in _wrong_noise(entry, plan, study):
            check.error(where, wrong)
        count = entry.event.count if entry.event else 1
        if not RunBudget(plan).allows(counts, entry.sum, count):
            check.error(where, f"is a {entry.sum} sum beyond those that the study's plan pays for")
        counts[entry.sum] += count


def _plan(study: Study, *, sites: int) -> PrivacyPlan:
    return plan_for(study, sites=sites, coordinates=Dimensions.of(study).longest)


def _wrong_noise(entry: ReleaseReserved, plan: PrivacyPlan, study: Study) -> list[str]:
    planned = plan.of(entry.sum)
    if planned is None:
        return [f"is a {entry.sum} sum, which the study does not plan"]
    whole, alone = entry.event, entry.event_alone
    if whole is None or alone is None:
        return ["was released without noise"]
    wrong = []
    if not math.isclose(whole.noise_multiplier, planned.noise_multiplier, rel_tol=_SAME):
        wrong.append(
            f"has noise multiplier {whole.noise_multiplier:g} where the plan of {entry.sum} sums "
            f"demands {planned.noise_multiplier:g}"
        )
    if alone.noise_multiplier < planned.share_multiplier * (1 - _SAME):
        wrong.append(
            f"has {alone.noise_multiplier:g} as this site's share of the noise where the plan "
            f"over {entry.sites} sites demands at least {planned.share_multiplier:g}"
        )
    if whole.sampling_rate != planned.sampling_rate:
        wrong.append(
            f"samples patients at rate {whole.sampling_rate:g}, not {planned.sampling_rate:g}"
        )
    training, steps = study.training, 1
    if entry.sum == "training" and isinstance(training, LocalTraining):
        steps = training.steps_per_round
    if whole.count != steps:
        wrong.append(f"is charged as {whole.count} sums, not {steps}")
    return wrong
