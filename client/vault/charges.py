"""How many releases cost what: by study for its plan and caps, by cohort for the cohort's caps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fedward.client.vault.cohort_budget import CohortBudget
from fedward.common.privacy.cohort_spending import StudyCharges
from fedward.common.privacy.events import GaussianEvent, grouped
from fedward.common.privacy.sum_plan import PART_OF, Part, SumKind

if TYPE_CHECKING:
    from fedward.client.vault.ledger import LedgerEntry


class Charge(NamedTuple):
    """What an entry costs: equal for equal sums, so that a ledger can count them."""

    kind: SumKind
    event: GaussianEvent | None
    event_alone: GaussianEvent | None


ChargedStudy = tuple[str, float]
"""A study's digest, and the share of the patients that it holds out."""
CohortCharges = Mapping[ChargedStudy, Mapping[Charge, int]]
"""How many entries that were charged to one cohort cost what, by study."""


class Charged(Protocol):
    """What a ledger has charged so far, committed or not."""

    def of_study(self, study_digest: str) -> Mapping[Charge, int]:
        """How many entries of this study, over whatever cohort, cost what."""

    def of_cohort(self, cohort: str) -> CohortCharges:
        """How many entries that were charged to this cohort cost what, by study."""

    def budgets(self) -> Mapping[str, CohortBudget]:
        """The effective budgets that the ledger itself declares, by cohort; none if it does not."""


class ChargeCounts:
    """Counts of a ledger's entries, and its ``budgets``. Not thread-safe."""

    def __init__(
        self,
        entries: Iterable[LedgerEntry] = (),
        *,
        budgets: Mapping[str, CohortBudget] | None = None,
    ) -> None:
        self._budgets = {} if budgets is None else budgets
        self._studies: dict[str, Counter[Charge]] = {}
        self._cohorts: dict[str, dict[ChargedStudy, Counter[Charge]]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: LedgerEntry) -> None:
        """Count one entry more."""
        self._studies.setdefault(entry.study_digest, Counter())[entry.charge] += 1
        study = entry.study_digest, entry.holdout
        for cohort in entry.cohorts:
            studies = self._cohorts.setdefault(cohort, {})
            studies.setdefault(study, Counter())[entry.charge] += 1

    def of_study(self, study_digest: str) -> Mapping[Charge, int]:
        """A copy of the counts of one study."""
        return dict(self._studies.get(study_digest, {}))

    def of_cohort(self, cohort: str) -> CohortCharges:
        """A copy of the counts of one cohort."""
        return {study: dict(counts) for study, counts in self._cohorts.get(cohort, {}).items()}

    def budgets(self) -> Mapping[str, CohortBudget]:
        """A copy of the budgets."""
        return dict(self._budgets)


def study_charges(charges: CohortCharges, *, alone: bool) -> tuple[StudyCharges, ...] | None:
    """What was charged to a cohort, to be composed; None if a release of it had no noise.

    ``alone`` takes the noise of this site's own shares, else that of the sums.
    """
    if any(charge.event is None or charge.event_alone is None for charge in _all(charges)):
        return None
    return tuple(
        StudyCharges(
            study_digest=digest,
            holdout=holdout,
            training=events_of(counts, "training", alone=alone),
            held_out=events_of(counts, "held_out", alone=alone),
        )
        for (digest, holdout), counts in charges.items()
    )


def events_of(
    counts: Mapping[Charge, int], part: Part, *, alone: bool
) -> tuple[GaussianEvent, ...]:
    """The noised releases over one part of the patients, equal ones grouped."""
    return grouped(
        replace(event, count=event.count * n)
        for charge, n in counts.items()
        if PART_OF[charge.kind] == part
        and (event := charge.event_alone if alone else charge.event) is not None
    )


def _all(charges: CohortCharges) -> Iterable[Charge]:
    return (charge for counts in charges.values() for charge in counts)
