"""Every cap that a study's releases are held against, and the releases that count for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedward.client.vault.allowance import Prospect
from fedward.client.vault.charges import Charge, Charged, CohortCharges, events_of, study_charges
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.outlook import Outlook
from fedward.client.vault.policy import Refused, SitePolicy, StudyCap
from fedward.common.privacy.cohort_spending import cohort_accounting_delta
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import PART_OF, Part, SumKind
from fedward.common.protocol.releases import RefusalReason


@dataclass(frozen=True, kw_only=True)
class CapCheck:
    """A cap, and the releases over each group of patients for which it holds."""

    name: str
    whose: str
    where: str
    cap: float
    delta: float
    prospects: tuple[Prospect, ...]


@dataclass(frozen=True, kw_only=True)
class StudySpending:
    """What a study costs a site that has charged ``charged``, one ``release`` more included.

    ``release`` is None before a run, when it is only asked what is ahead. Caps are those of the
    policy for the study, and for each of ``cohorts`` those of the policy and of the ledger: the
    lower of two at one delta.
    """

    site: str
    study_digest: str
    holdout: float
    cohorts: tuple[str, ...]
    charged: Charged
    plan: PrivacyPlan
    policy: SitePolicy
    release: Charge | None = None

    def checks(self) -> Iterator[CapCheck]:
        """One for each cap; the study's own first.

        Raises:
            Refused: a capped cohort has released without noise.
        """
        for alone, cap in _caps_of(self.policy.cap_of(self.study_digest)):
            for part in self._parts():
                yield self._of_study(part, alone=alone, cap=cap)
        for cohort in self.cohorts:
            caps = self._cohort_caps(cohort)
            charges = self._charges_of(cohort) if caps else {}
            for (delta, alone), cap in caps.items():
                yield self._of_cohort(cohort, charges, delta=delta, alone=alone, cap=cap)

    def _parts(self) -> tuple[Part, ...]:
        both: tuple[Part, ...] = ("training", "held_out")
        return both if self.release is None else (PART_OF[self.release.kind],)

    def _of_study(self, part: Part, *, alone: bool, cap: float) -> CapCheck:
        events = events_of(self._counts(), part, alone=alone)
        return CapCheck(
            name=_epsilon(alone=alone),
            whose="this study",
            where="",
            cap=cap,
            delta=self.plan.accounting_delta,
            prospects=(self._outlook(alone=alone).of_part(part, events),),
        )

    def _of_cohort(
        self, cohort: str, charges: CohortCharges, *, delta: float, alone: bool, cap: float
    ) -> CapCheck:
        studies = study_charges(charges, alone=alone)
        if studies is None:
            raise Refused(
                RefusalReason.BUDGET_EXCEEDED,
                f"{self.site} holds releases over cohort {cohort} that had no noise",
            )
        outlook = self._outlook(alone=alone)
        return CapCheck(
            name=_epsilon(alone=alone),
            whose="all studies",
            where=f" of cohort {cohort} at delta {delta:g}",
            cap=cap,
            delta=cohort_accounting_delta(delta),
            prospects=outlook.of_cohort(studies, in_the_end=self.release is None),
        )

    def _cohort_caps(self, cohort: str) -> dict[tuple[float, bool], float]:
        """The lowest caps on either epsilon, by delta and whether it is the one alone."""
        found: dict[tuple[float, bool], float] = {}
        for budgets in (self.policy.cohorts, self.charged.budgets()):
            budget = budgets.get(cohort)
            if budget is not None:
                for alone, cap in _caps_of(budget):
                    key = budget.delta, alone
                    found[key] = min(cap, found.get(key, math.inf))
        return found

    def _counts(self) -> Mapping[Charge, int]:
        return self._with_release(self.charged.of_study(self.study_digest))

    def _charges_of(self, cohort: str) -> CohortCharges:
        charges = dict(self.charged.of_cohort(cohort))
        study = self.study_digest, self.holdout
        charges[study] = self._with_release(charges.get(study, {}))
        return charges

    def _with_release(self, counts: Mapping[Charge, int]) -> Mapping[Charge, int]:
        if self.release is None:
            return counts
        return {**counts, self.release: counts.get(self.release, 0) + 1}

    def _outlook(self, *, alone: bool) -> Outlook:
        counts: Counter[SumKind] = Counter()
        for charge, entries in self._counts().items():
            counts[charge.kind] += entries * (charge.event.count if charge.event else 1)
        return Outlook.after(
            self.release.kind if self.release else None,
            study_digest=self.study_digest,
            holdout=self.holdout,
            counts=counts,
            plan=self.plan,
            alone=alone,
        )


def _caps_of(caps: StudyCap | CohortBudget) -> Iterator[tuple[bool, float]]:
    """The caps that there are, with whether each is on this site's shares alone."""
    for alone, cap in ((False, caps.epsilon_cap), (True, caps.epsilon_alone_cap)):
        if cap is not None:
            yield alone, cap


def _epsilon(*, alone: bool) -> str:
    return "epsilon_alone" if alone else "epsilon"
