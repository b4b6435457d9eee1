"""``fedward audit plan`` as data: what a study costs, and what is left of each budget."""

from __future__ import annotations

from typing import Literal

from fedward.audits.books.recomputation import is_above
from fedward.audits.findings import AuditModel
from fedward.common.privacy.sum_plan import Part, SumKind


class SumCost(AuditModel):
    """One kind of sum: how many are paid for, spares included, and with how much noise."""

    kind: SumKind
    part: Part
    releases: int
    sampling_rate: float
    noise_multiplier: float
    share_multiplier: float


class PartCost(AuditModel):
    """What the study costs a patient of one part if everything paid for is released."""

    part: Part
    epsilon: float
    epsilon_alone: float


class CohortOutlook(AuditModel):
    """A cohort's budget before and after the study, for its worst patient; None is no cap.

    ``alone`` tells which of the two epsilons it is about.
    """

    site: str
    cohort: str
    delta: float
    alone: bool
    cap: float | None
    spent: float | None
    after: float | None

    @property
    def left(self) -> float | None:
        """What is left of the cap; below 0 if it does not suffice. None without a cap."""
        if self.cap is None or self.after is None:
            return None
        return self.cap - self.after

    @property
    def fits(self) -> bool:
        """Whether the cap allows the whole study."""
        return self.cap is None or (self.after is not None and not is_above(self.after, self.cap))


class StudyCapOutlook(AuditModel):
    """A site's own cap for one study beside what the plan spends."""

    site: str
    alone: bool
    cap: float
    cost: float

    @property
    def fits(self) -> bool:
        """Whether the cap allows the whole study."""
        return not is_above(self.cost, self.cap)


class PlanCost(AuditModel):
    """``fedward audit plan`` as data."""

    format: Literal["fedward-plan-cost-1"] = "fedward-plan-cost-1"
    study_name: str
    study_digest: str
    sites: int
    colluding: int
    delta: float
    sums: tuple[SumCost, ...]
    parts: tuple[PartCost, ...]
    cohorts: tuple[CohortOutlook, ...]
    study_caps: tuple[StudyCapOutlook, ...]

    @property
    def fits(self) -> bool:
        """Whether no cap is in the way."""
        return all(one.fits for one in self.cohorts) and all(one.fits for one in self.study_caps)
