"""What one more release may cost: the study's plan, and the caps of the site and of its ledger."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

from fedward.client.vault.allowance import Allowance
from fedward.client.vault.cap_checks import StudySpending
from fedward.client.vault.charges import Charged
from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.policy import Refused, SitePolicy
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.definition import Study

ALLOWANCE = Allowance()
"""Of all vaults of this process: it holds nothing but what noise costs."""


def refuse_overspending(
    entry: LedgerEntry,
    *,
    charged: Charged,
    plan: PrivacyPlan,
    policy: SitePolicy,
    site: str,
    allowance: Allowance = ALLOWANCE,
) -> None:
    """Refuse what the study's plan does not hold, or what a cap forbids.

    ``charged`` is the ledger's so far, with the budgets that it declares. Only planned sums are
    admitted, in the numbers that :class:`~fedward.common.privacy.budget.RunBudget` allows. All
    releases of the study must stay within the site's caps for it, for training and held-out
    patients by themselves, and all releases of all studies within the caps of every cohort that is
    charged, for any one patient. A cohort's caps are those of the policy and those of the ledger,
    whichever is lower; one that either of them declares is charged, and held to its caps.

    Raises:
        Refused: with ``budget_exceeded``; also for an entry that is not charged to the cohorts that
            the policy and the ledger say.
    """

    def refuse(why: str) -> NoReturn:
        raise Refused(RefusalReason.BUDGET_EXCEEDED, f"{site} {why}")

    _check_plan(entry, charged=charged, plan=plan, site=site)
    asked = entry.cohorts[0]
    if entry.cohorts != policy.charged_cohorts(asked, declared=charged.budgets()):
        refuse(f"charges other cohorts than those with patients of {asked}")
    spending = StudySpending(
        site=site,
        study_digest=entry.study_digest,
        holdout=entry.holdout,
        cohorts=entry.cohorts,
        charged=charged,
        plan=plan,
        policy=policy,
        release=entry.charge,
    )
    for check in spending.checks():
        spent = allowance.excess(check.prospects, cap=check.cap, delta=check.delta)
        if spent is not None:
            refuse(
                f"would spend {check.name} {spent:g}{check.where}; its cap for {check.whose} "
                f"is {check.cap:g}"
            )


def look_ahead(
    study: Study,
    *,
    study_digest: str,
    cohort_name: str,
    charged: Charged,
    plan: PrivacyPlan,
    policy: SitePolicy,
    site: str,
    allowance: Allowance = ALLOWANCE,
) -> None:
    """Find out before a run how much of it the caps allow, so that later checks need not compute.

    It may take seconds. Raises :class:`Refused` for a cohort that could not be charged, or is
    capped and has released without noise, and :class:`PrivacyRefusal` for a delta that has no
    accounting.
    """
    spending = StudySpending(
        site=site,
        study_digest=study_digest,
        holdout=study.evaluation.holdout,
        cohorts=policy.charged_cohorts(cohort_name, declared=charged.budgets()),
        charged=charged,
        plan=plan,
        policy=policy,
    )
    for check in spending.checks():
        allowance.look_ahead(check.prospects, cap=check.cap, delta=check.delta)


def _check_plan(entry: LedgerEntry, *, charged: Charged, plan: PrivacyPlan, site: str) -> None:
    counts: Counter[SumKind] = Counter()
    for charge, entries in charged.of_study(entry.study_digest).items():
        planned, event = plan.of(charge.kind), charge.event
        # The noise of a share follows from the roster, that of the sum from the study alone.
        if (
            planned is None
            or event is None
            or charge.event_alone is None
            or event.noise_multiplier != planned.noise_multiplier
            or event.sampling_rate != planned.sampling_rate
        ):
            raise Refused(
                RefusalReason.BUDGET_EXCEEDED,
                f"{site} holds releases of this study that its plan does not know",
            )
        counts[charge.kind] += entries * event.count
    count = entry.event.count if entry.event else 1
    if not RunBudget(plan).allows(counts, entry.kind, count):
        raise Refused(
            RefusalReason.BUDGET_EXCEEDED,
            f"{site} has released all {entry.kind} sums that the study's budget pays for",
        )
