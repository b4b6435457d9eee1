"""``fedward audit ledger`` as data: what the books say, recomputed, and which checks passed."""

from __future__ import annotations

from typing import Literal

from fedward.audits.findings import AuditModel, CheckResult
from fedward.common.privacy.sum_plan import Part


class RecomputedEpsilon(AuditModel):
    """One epsilon, from events alone; ``epsilon`` is PLD's and an upper bound.

    ``prv_low`` and ``prv_high`` are the interval of Opacus's PRV accountant, ``rdp`` the smallest
    Rényi bound; None where that accountant was not asked, which ``note`` explains. ``epsilon`` is
    None if something was released without noise: no epsilon holds then.
    """

    epsilon: float | None
    prv_low: float | None = None
    prv_high: float | None = None
    rdp: float | None = None
    note: str = ""


class StudySpending(AuditModel):
    """What a study spent of one cohort, for a patient of one part, at the study's ``delta``.

    ``releases`` are those charged, committed or not; times are those of the entries, UTC.
    """

    cohort: str
    study_name: str
    study_digest: str
    part: Part
    delta: float
    releases: int
    first: str
    last: str
    epsilon: RecomputedEpsilon
    epsilon_alone: RecomputedEpsilon


class CohortSpending(AuditModel):
    """What all studies spent of a cohort, for the worst of its patients, at the cohort's delta.

    ``delta`` is None of a cohort that was never declared: it has no budget, so that ``epsilon`` is
    at the smallest delta of its studies.
    """

    cohort: str
    delta: float | None
    epsilon_cap: float | None
    epsilon_alone_cap: float | None
    shares_patients_with: tuple[str, ...]
    releases: int
    epsilon: RecomputedEpsilon
    epsilon_alone: RecomputedEpsilon


class AuditedLedger(AuditModel):
    """One site's ledger. Numbers of entries are by kind; ``open`` reservations were never closed.

    ``digest`` is that of the last entry; ``site`` is empty if the first entry cannot be read.
    """

    source: str
    site: str
    ledger_id: str
    identity_key: str
    entries: int
    digest: str
    reserved: int
    committed: int
    abandoned: int
    open: int
    first: str
    last: str
    studies: tuple[StudySpending, ...]
    cohorts: tuple[CohortSpending, ...]


class AuditedRun(AuditModel):
    """The coordinator's log beside the ledgers: what it received, and from whom no ledger came."""

    run_id: str
    study_name: str
    study_digest: str
    asked: int
    received: int
    sites_without_ledger: tuple[str, ...]


class LedgerAudit(AuditModel):
    """All that the books say. ``evidence`` holds the SHA-256 of each file by its name."""

    format: Literal["fedward-ledger-audit-1"] = "fedward-ledger-audit-1"
    ledgers: tuple[AuditedLedger, ...]
    run: AuditedRun | None
    checks: tuple[CheckResult, ...]
    evidence: dict[str, str]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether no check failed. One that could not be made has not failed."""
        return not any(check.passed is False for check in self.checks)
