"""What one more release may cost: the study's plan, and the caps of the site's policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fedward.client.vault.ledger import Charge, LedgerEntry
from fedward.client.vault.policy import Refused, SitePolicy
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import PART_OF, SumKind
from fedward.common.protocol.releases import RefusalReason


def refuse_overspending(
    entry: LedgerEntry,
    *,
    charged: Mapping[Charge, int],
    plan: PrivacyPlan,
    policy: SitePolicy,
    site: str,
) -> None:
    """Refuse what the study's plan does not hold, or what a cap of the site forbids.

    ``charged`` counts the ledger's entries of the study so far. Only planned sums are admitted, in
    the numbers that :class:`~fedward.common.privacy.budget.RunBudget` allows.

    Raises:
        Refused: with ``budget_exceeded``.
    """
    _check_plan(entry, charged, plan=plan, site=site)
    delta = plan.accounting_delta
    # A patient is in one part of the cohort, so a cap holds for each part by itself.
    part = PART_OF[entry.kind]
    charges = Counter({charge: n for charge, n in charged.items() if PART_OF[charge.kind] == part})
    charges[entry.charge] += 1
    if policy.epsilon_cap is not None:
        events = _repeated((charge.event, n) for charge, n in charges.items())
        _refuse_above(policy.epsilon_cap, events, delta=delta, name="epsilon", site=site)
    if policy.epsilon_alone_cap is not None:
        events = _repeated((charge.event_alone, n) for charge, n in charges.items())
        _refuse_above(
            policy.epsilon_alone_cap, events, delta=delta, name="epsilon_alone", site=site
        )


def _check_plan(
    entry: LedgerEntry, charged: Mapping[Charge, int], *, plan: PrivacyPlan, site: str
) -> None:
    counts: Counter[SumKind] = Counter()
    for charge, entries in charged.items():
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


def _repeated(charges: Iterable[tuple[GaussianEvent | None, int]]) -> list[GaussianEvent]:
    return [replace(event, count=event.count * n) for event, n in charges if event is not None]


def _refuse_above(
    cap: float, events: list[GaussianEvent], *, delta: float, name: str, site: str
) -> None:
    spent = epsilon_of(events, delta=delta)
    if not spent <= cap:
        raise Refused(
            RefusalReason.BUDGET_EXCEEDED,
            f"{site} would spend {name} {spent:.4g}; its cap for this study is {cap:.4g}",
        )
