"""A rehearsal: the auditor, as a malicious coordinator, asks real vaults for all they may give.

Sums take the path that they take in a hospital; around it, ledgers are in memory and masks off. The
auditor chooses what a coordinator may choose (scaler, parameters, what to ask for), so that every
canary's clipped gradient lies in its own coordinates, and spends the whole budget on the sums that
tell most about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.canaries import Canaries, CanaryShape
from fedward.audits.empirical.real_patients import invented_cohorts
from fedward.audits.empirical.rehearsed_sites import RehearsedSites
from fedward.audits.empirical.scores import Scorer
from fedward.client.cohort import Cohort
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.definition import Cohort as StudyCohort
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions

ClaimName = Literal["epsilon", "epsilon_alone"]
OnProgress = Callable[[int, int], None]
"""Called with how many sums were asked for, of how many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditedView:
    """What one adversary sees of the canaries, beside the epsilon claimed against it.

    ``name`` "epsilon" is the sum of the honest sites, ``colluding`` others having taken out what
    they put in; "epsilon_alone" each site's own release. ``scores`` ``[canaries]`` are
    log-likelihood ratios of "in" against "out", larger for "in"; ``included`` ``[canaries]`` is
    the truth, independent fair coins. ``claimed`` is the plan's for training patients, which the
    canaries are, at the study's ``delta``.
    """

    name: ClaimName
    claimed: float
    delta: float
    scores: NDArray[np.float64]
    included: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """One rehearsal: who took part, what was claimed, what came out.

    ``honest`` are the sites whose noise the first view holds; all canaries are theirs.
    """

    study: Study
    audit: AuditStudy
    plan: PrivacyPlan
    sites: RehearsedSites
    honest: tuple[str, ...]
    canaries: Canaries
    shape: CanaryShape
    parameters: NDArray[np.float64]
    views: tuple[AuditedView, ...]
    notes: tuple[str, ...]
    seed: int | None


def rehearse(
    study: Study,
    *,
    cohorts: Mapping[str, Cohort] | None = None,
    sites: int = 4,
    canaries: int = 1000,
    seed: int | None = None,
    on_progress: OnProgress | None = None,
) -> Rehearsal:
    """Rehearse a study with fair-coin canaries and score them.

    ``cohorts`` are training patients by site, None invents some at ``sites`` sites. ``seed`` None
    takes coins, noise and batches from the operating system; a number makes all of it repeatable.

    Raises:
        PrivacyRefusal: the study has no plan for so many sites.
        NotReleased: a vault refused what the study plans.
        ValueError: a model whose first parameters are not a weight for each column.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    real = dict(cohorts) if cohorts else invented_cohorts(study, sites=sites, generator=generator)
    audit = AuditStudy.of(study, canaries=canaries, cohort=_roomy(study, real, canaries))
    plan = plan_for(audit.study, sites=len(real), coordinates=Dimensions.of(audit.study).longest)
    names = sorted(real)
    honest = tuple(names[: len(names) - plan.colluding])
    tossed = Canaries.toss(
        canaries, sites=honest, both_outcomes=not audit.is_local, generator=generator
    )
    parameters = audit.parameters()
    asked = RehearsedSites(
        audit.study, tossed.cohorts(real, audit=audit), seed=seed, run_id="audit-canaries"
    )
    _ask_all(asked, audit, plan, parameters, on_progress)
    shape = CanaryShape.of(audit, parameters)
    scorer = Scorer(asked, audit=audit, plan=plan, canaries=tossed, shape=shape)
    alone = scorer.of_each_site()
    # Where every site adds all of the noise, one release by itself tells most.
    together = scorer.of_sum(honest) if plan.trust == "sites" else alone
    claims: dict[ClaimName, tuple[float, NDArray[np.float64]]] = {
        "epsilon": (plan.training_epsilon, together),
        "epsilon_alone": (plan.training_epsilon_alone, alone),
    }
    return Rehearsal(
        study=study,
        audit=audit,
        plan=plan,
        sites=asked,
        honest=honest,
        canaries=tossed,
        shape=shape,
        parameters=parameters,
        views=tuple(
            AuditedView(
                name=name,
                claimed=claimed,
                delta=study.privacy.delta,
                scores=scores,
                included=tossed.included,
            )
            for name, (claimed, scores) in claims.items()
        ),
        notes=_notes(plan, audit),
        seed=seed,
    )


def training_places(study: Study, *, releases: int) -> list[tuple[int, int]]:
    """So many (round, attempt): every round once, then attempts beyond the first."""
    rounds = study.training.rounds
    return [(number % rounds + 1, number // rounds + 1) for number in range(releases)]


def training_releases(plan: PrivacyPlan, study: Study) -> tuple[int, bool]:
    """How many training sums one vault gives, and whether they take up the whole budget.

    Where the budget lets sums be exchanged, all of it goes to training sums, which tell more of a
    canary than the scaler's or the counts do.
    """
    steps = study.training.steps_per_round if isinstance(study.training, LocalTraining) else 1
    most = RunBudget(plan).releases_left({}, "training", per_release=steps)
    return most, most > plan.training.count // steps


def _ask_all(
    asked: RehearsedSites,
    audit: AuditStudy,
    plan: PrivacyPlan,
    parameters: NDArray[np.float64],
    on_progress: OnProgress | None,
) -> None:
    arrays = {"parameters": parameters} | audit.scaler()
    releases, whole_budget = training_releases(plan, audit.study)
    wanted: list[tuple[SumKind, int, int]] = []
    if plan.scaler is not None and not whole_budget:
        wanted += [("moments", 0, attempt + 1) for attempt in range(plan.scaler.count)]
    places = training_places(audit.study, releases=releases)
    wanted += [("training", number, attempt) for number, attempt in places]
    for done, (kind, number, attempt) in enumerate(wanted):
        asked.ask(kind, round_number=number, attempt=attempt, arrays=arrays)
        if on_progress is not None:
            on_progress(done + 1, len(wanted))


def _roomy(study: Study, real: Mapping[str, Cohort], canaries: int) -> StudyCohort:
    """The study's cohort section, with room for the canaries at any site."""
    most = max(cohort.patient_count for cohort in real.values()) + canaries
    bound = max(study.cohort.max_patients_per_site, most)
    return study.cohort.model_copy(update={"max_patients_per_site": bound})


def _notes(plan: PrivacyPlan, audit: AuditStudy) -> tuple[str, ...]:
    notes = []
    if plan.trust == "none":
        notes.append("Every site adds all of the noise, so both claims are about a site's release.")
    if audit.is_local:
        notes.append(
            "A local update holds several sampled steps; what is known of them is less than an "
            "adversary within the site would know, so the lower bounds are less tight."
        )
    return tuple(notes)
