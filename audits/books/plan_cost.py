"""What a study would cost a site before anyone runs it, and what its cohorts have left then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedward.audits.books.budget_history import BudgetHistory, budget_history
from fedward.audits.books.chain_verification import ChainChecks, read_ledger
from fedward.audits.books.checks import Check
from fedward.audits.books.evidence import read_ledger_text
from fedward.audits.books.plan_result import (
    CohortOutlook,
    PartCost,
    PlanCost,
    StudyCapOutlook,
    SumCost,
)
from fedward.audits.books.recomputation import PARTS, charges_of, worst_events
from fedward.client.site.site_settings import SiteSettings, load_site
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.policy import StudyCap
from fedward.common.errors import InputError
from fedward.common.ledger.entries import ReleaseReserved
from fedward.common.privacy.cohort_spending import StudyCharges
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.sum_plan import PART_OF, Part, SumKind, SumPlan
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions


@dataclass(frozen=True, kw_only=True)
class _SiteBooks:
    """A site's budgets and what it was charged; no history where it has no ledger yet."""

    site: str
    budgets: Mapping[str, CohortBudget]
    history: BudgetHistory | None

    def charged(self, cohort: str) -> list[ReleaseReserved]:
        """What counts against a cohort under these budgets, which may be newer than the ledger."""
        if self.history is None:
            return []
        now = replace(self.history.periods[-1], budgets=self.budgets)
        return [one.entry for one in self.history.counted(cohort, now, before=now.end)]


def cost_of_plan(
    study: Study,
    *,
    sites: int | None = None,
    ledgers: Iterable[Path] = (),
    settings: Iterable[Path] = (),
) -> PlanCost:
    """The study's cost over ``sites`` (its minimum if None), and each cohort's outlook.

    Whichever cohort the study would ask, each one is shown as if it were charged. Releases of the
    study that a ledger holds already are part of its plan, and not counted twice. Caps are those of
    a site's settings where these are given, else those of its ledger.

    Raises:
        InputError: a file cannot be used, or a ledger does not verify.
        PrivacyRefusal: the study has no plan over so many sites.
    """
    number = study.cohort.minimum_sites if sites is None else sites
    plan = plan_for(study, sites=number, coordinates=Dimensions.of(study).longest)
    given = [load_site(path) for path in settings]
    books = [_books(path) for path in ledgers]
    books += [_books_of_settings(site) for site in given]
    return PlanCost(
        study_name=study.about.name,
        study_digest=study.digest,
        sites=number,
        colluding=plan.colluding,
        delta=plan.delta,
        sums=tuple(_sum_cost(kind, sums) for kind, sums in plan.sums.items()),
        parts=tuple(
            PartCost(
                part=part,
                epsilon=plan.epsilon_of_part(part),
                epsilon_alone=plan.epsilon_alone_of_part(part),
            )
            for part in PARTS
            if plan.sums_of_part(part)
        ),
        cohorts=tuple(
            _outlook(site, budget, study, plan, alone=alone)
            for site in books
            for budget in site.budgets.values()
            for alone in (False, True)
        ),
        study_caps=tuple(outlook for site in given for outlook in _study_caps(site, study, plan)),
    )


def _sum_cost(kind: SumKind, sums: SumPlan) -> SumCost:
    return SumCost(
        kind=kind,
        part=PART_OF[kind],
        releases=sums.count,
        sampling_rate=sums.sampling_rate,
        noise_multiplier=sums.noise_multiplier,
        share_multiplier=sums.share_multiplier,
    )


def _outlook(
    site: _SiteBooks, budget: CohortBudget, study: Study, plan: PrivacyPlan, *, alone: bool
) -> CohortOutlook:
    charged = site.charged(budget.name)
    before = charges_of(charged, alone=alone)
    planned = _still_planned(charged, study, plan, alone=alone)
    after = None if before is None else (*before, planned)
    return CohortOutlook(
        site=site.site,
        cohort=budget.name,
        delta=budget.delta,
        alone=alone,
        cap=budget.epsilon_alone_cap if alone else budget.epsilon_cap,
        spent=_worst(before, delta=budget.delta),
        after=_worst(after, delta=budget.delta),
    )


def _still_planned(
    charged: Sequence[ReleaseReserved], study: Study, plan: PrivacyPlan, *, alone: bool
) -> StudyCharges:
    """What the plan holds beyond the releases of the study that were charged already."""
    taken: Counter[SumKind] = Counter()
    for entry in charged:
        if entry.study_digest == study.digest:
            taken[entry.sum] += entry.event.count if entry.event else 1
    events: dict[Part, list[GaussianEvent]] = {part: [] for part in PARTS}
    for kind, sums in plan.sums.items():
        left = sums.count - taken[kind]
        if left > 0:
            event = sums.event_alone() if alone else sums.event()
            events[PART_OF[kind]].append(replace(event, count=left))
    return StudyCharges(
        study_digest=study.digest,
        holdout=study.evaluation.holdout,
        training=tuple(events["training"]),
        held_out=tuple(events["held_out"]),
    )


def _worst(charges: Sequence[StudyCharges] | None, *, delta: float) -> float | None:
    if charges is None:
        return None
    # A study's charges so far and those still planned are over the same parts of the patients.
    return worst_events(charges, delta=delta)[1]


def _study_caps(site: SiteSettings, study: Study, plan: PrivacyPlan) -> tuple[StudyCapOutlook, ...]:
    cap = site.study_caps.get(study.digest, site.study_cap)
    costs = {
        False: max(plan.epsilon_of_part(part) for part in PARTS),
        True: max(plan.epsilon_alone_of_part(part) for part in PARTS),
    }
    return tuple(
        StudyCapOutlook(site=site.name, alone=alone, cap=limit, cost=costs[alone])
        for alone, limit in _limits(cap).items()
        if limit is not None
    )


def _limits(cap: StudyCap) -> dict[bool, float | None]:
    return {False: cap.epsilon_cap, True: cap.epsilon_alone_cap}


def _books_of_settings(site: SiteSettings) -> _SiteBooks:
    if not site.ledger_file.exists():
        return _SiteBooks(site=site.name, budgets=site.cohorts, history=None)
    found = _books(site.ledger_file)
    if found.site != site.name:
        raise InputError(
            source=str(site.source),
            field="ledger.file",
            problem=f"is the ledger of {found.site}, not of {site.name}",
            fix="name this site's own",
        )
    budgets = dict(found.budgets)
    for name, budget in site.cohorts.items():
        shared = set(budget.shares_patients_with)
        if name in budgets:
            # Patients that were once declared to be shared stay so, whatever the settings say.
            shared |= set(budgets[name].shares_patients_with)
        budgets[name] = replace(budget, shares_patients_with=tuple(sorted(shared)))
    return replace(found, budgets=budgets)


def _books(path: Path) -> _SiteBooks:
    given = read_ledger_text(path)
    checks = ChainChecks.new()
    ledger = read_ledger(given.raw, roster=None, checks=checks, head_expected=given.is_export)
    rules = Check("budgets", "")
    history = None if ledger is None else budget_history(ledger, check=rules)
    failed = any(check.result().passed is False for check in (*checks.all, rules))
    if ledger is None or history is None or failed:
        raise InputError(
            source=str(path),
            field="",
            problem="does not verify",
            fix="see what is wrong with `fedward audit ledger`",
        )
    return _SiteBooks(site=ledger.site, budgets=history.periods[-1].budgets, history=history)
