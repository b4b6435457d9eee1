"""The tables of a report's page: what was spent, what was checked, what attacks reached."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.audits.attacks.result import VIEWS, AttackAudit, AttackFigure, AttackResult
from fedward.audits.findings import CheckResult
from fedward.audits.report.document import Account, AuditReport, ChargeLine, SiteBooks
from fedward.common.privacy.sum_plan import SumKind

SUM_NAMES: dict[SumKind, str] = {
    "moments": "means and spreads of the features",
    "counts": "patients by outcome",
    "training": "training",
    "evaluation": "evaluation on held-out patients",
    "site_evaluation": "each hospital's own evaluation",
}


@dataclass(frozen=True, kw_only=True)
class SpendingRow:
    """One account of one hospital. ``shares`` are shares of the caps, None without one."""

    site: SiteBooks
    account: Account
    share: float | None
    share_alone: float | None
    releases: int
    unanswered: int
    """Reserved, but never committed: charged although nothing is known to have left."""
    lines: tuple[tuple[str, ChargeLine], ...]

    @property
    def over(self) -> bool:
        """Whether more was spent than a cap allows."""
        return any(share is not None and share > 1 for share in (self.share, self.share_alone))

    @property
    def fullest(self) -> float | None:
        """The larger share of the caps, at most 1, for a bar."""
        shares = [share for share in (self.share, self.share_alone) if share is not None]
        return min(1.0, max(shares)) if shares else None


@dataclass(frozen=True, kw_only=True)
class CheckGroup:
    """Checks that came out alike."""

    name: str
    mark: str
    passed: bool | None
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, kw_only=True)
class AttackRow:
    """One attack, with its figure under each view; None where it was not tried."""

    attack: AttackResult
    cells: tuple[AttackFigure | None, ...]


def check_name(name: str) -> str:
    """A check's name as people write it: "run_log" is "Run log"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def spending_rows(report: AuditReport) -> tuple[SpendingRow, ...]:
    """All hospitals' accounts, cohorts before studies."""
    return tuple(_row(site, account) for site in report.sites for account in site.accounts)


def check_groups(report: AuditReport) -> tuple[CheckGroup, ...]:
    """Failed checks first, then those that could not be made, then the passed ones."""

    def with_result(passed: bool | None) -> tuple[CheckResult, ...]:
        return tuple(check for check in report.all_checks if check.passed is passed)

    groups = (
        CheckGroup(name="Failed", mark="✕", passed=False, checks=with_result(False)),
        CheckGroup(name="Could not be made", mark="!", passed=None, checks=with_result(None)),
        CheckGroup(name="Passed", mark="✓", passed=True, checks=with_result(True)),
        CheckGroup(name="Do not apply here", mark="–", passed=None, checks=report.not_applicable),
    )
    return tuple(group for group in groups if group.checks)


def attack_rows(audit: AttackAudit) -> tuple[AttackRow, ...]:
    """Each attack's figures in the order of the views."""
    rows = []
    for attack in audit.attacks:
        figures = {figure.view: figure for figure in attack.figures}
        rows.append(AttackRow(attack=attack, cells=tuple(figures.get(view) for view in VIEWS)))
    return tuple(rows)


def _row(site: SiteBooks, account: Account) -> SpendingRow:
    lines = account.charges
    return SpendingRow(
        site=site,
        account=account,
        share=_share(account.epsilon, account.epsilon_cap),
        share_alone=_share(account.epsilon_alone, account.epsilon_alone_cap),
        releases=sum(line.releases for line in lines),
        unanswered=sum(line.releases - line.committed for line in lines),
        lines=tuple((SUM_NAMES[line.sum], line) for line in lines),
    )


def _share(spent: float | None, cap: float | None) -> float | None:
    if spent is None or cap is None:
        return None
    # A cap of nothing is full as soon as anything is spent.
    return spent / cap if cap else float(spent > 0)
