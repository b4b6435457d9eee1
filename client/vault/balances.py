"""What has been spent so far, as a ledger's entry says it: a check value for whoever reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from fedward.client.vault.charges import Charged, CohortCharges, events_of, study_charges
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.ledger_drafts import Draft
from fedward.common.ledger.entries import BalanceStruck
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.cohort_spending import worst_patient_epsilon
from fedward.common.privacy.sum_plan import Part


def balances(
    study_digest: str,
    *,
    charged: Charged,
    releases: Iterable[LedgerEntry],
    budgets: Mapping[str, CohortBudget],
) -> list[Draft]:
    """A balance for each cohort with a budget that the study was charged to, sorted by name.

    The study's epsilon is that of the part of its patients, training or held out, that spent more.
    A cohort that was charged a release without noise has no balance, for it has no epsilon.
    Raises :class:`PrivacyRefusal` for a delta that no epsilon can be computed at.
    """
    deltas = {entry.delta for entry in releases if entry.study_digest == study_digest}
    drafts: list[Draft] = []
    for name in sorted(budgets):
        spent = charged.of_cohort(name)
        own = {study: counts for study, counts in spent.items() if study[0] == study_digest}
        whole, shares = (study_charges(spent, alone=alone) for alone in (False, True))
        if not own or whole is None or shares is None:
            continue
        delta = budgets[name].delta
        drafts.append(
            partial(
                BalanceStruck,
                cohort=name,
                study_digest=study_digest,
                epsilon=max(_epsilon(own, alone=False, delta=each) for each in deltas),
                epsilon_alone=max(_epsilon(own, alone=True, delta=each) for each in deltas),
                cohort_epsilon=worst_patient_epsilon(whole, delta=delta),
                cohort_epsilon_alone=worst_patient_epsilon(shares, delta=delta),
            )
        )
    return drafts


def _epsilon(own: CohortCharges, *, alone: bool, delta: float) -> float:
    parts: tuple[Part, ...] = ("training", "held_out")
    return max(
        epsilon_of(
            [event for counts in own.values() for event in events_of(counts, part, alone=alone)],
            delta=delta,
        )
        for part in parts
    )
