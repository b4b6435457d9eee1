"""The audit of the books as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.audits.books.result import AuditedLedger, LedgerAudit, RecomputedEpsilon
from fedward.audits.findings import CheckResult, Severity

_COLOURS: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}


def show_audit(audit: LedgerAudit, console: Console) -> None:
    """Ledgers, what was spent, every check, and every finding in full."""
    if audit.ledgers:
        console.print(_ledgers_table(audit.ledgers))
        console.print(_spending_table(audit.ledgers))
    if audit.run is not None:
        run = audit.run
        console.print(
            Text(
                f"Run {run.run_id} of {run.study_name}: {run.asked} sums were asked for, "
                f"{run.received} received."
            )
        )
    console.print(_checks_table(audit.checks))
    for check in audit.checks:
        for finding in check.findings:
            line = Text(f"{finding.severity}: ", style=_COLOURS[finding.severity])
            where = f"{finding.where}: " if finding.where else ""
            console.print(line + plain(f"{where}{finding.sentence}"), soft_wrap=True)
    failed = [check.name for check in audit.checks if check.passed is False]
    if failed:
        verdict = f"The books are NOT in order: {', '.join(failed)}."
    else:
        passed = sum(check.passed is True for check in audit.checks)
        left = [check.name for check in audit.checks if check.passed is None]
        not_made = f"; not made: {', '.join(left)}" if left else ""
        verdict = f"The books are in order: {passed} checks passed, none failed{not_made}."
    console.print(Text(verdict, style="red" if failed else "green"))


def epsilon_cells(found: RecomputedEpsilon) -> tuple[str, str, str]:
    """What PLD, PRV and RDP say; "-" where one was not asked."""
    if found.epsilon is None:
        return "none holds", "-", "-"
    prv = "-"
    if found.prv_low is not None and found.prv_high is not None:
        prv = f"{max(0.0, found.prv_low):.3f}-{found.prv_high:.3f}"
    rdp = "-" if found.rdp is None else f"{found.rdp:.3f}"
    return f"{found.epsilon:.4f}", prv, rdp


def plain(text: str) -> Text:
    """Text of a file as it is: no markup, and no control characters to the terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _ledgers_table(ledgers: tuple[AuditedLedger, ...]) -> Table:
    table = Table(title="Ledgers", box=SIMPLE, pad_edge=False)
    table.add_column("site", overflow="fold")
    for name in ("entries", "reserved", "committed", "abandoned", "open"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for one in ledgers:
        counts = (one.entries, one.reserved, one.committed, one.abandoned, one.open)
        file = "/".join(Path(one.source).parts[-2:])
        table.add_row(plain(one.site), *map(str, counts), plain(file))
    return table


def _spending_table(ledgers: tuple[AuditedLedger, ...]) -> Table:
    table = Table(title="Epsilons, recomputed from the events alone", box=SIMPLE, pad_edge=False)
    for name in ("site", "study, part, cohort, sums", "epsilon"):
        table.add_column(name, overflow="fold")
    for name in ("PLD", "PRV", "RDP", "cap"):
        table.add_column(name, justify="right", no_wrap=True)
    # Sites of one run mostly spent the same, and are then told together.
    sites: dict[tuple[str, ...], list[str]] = {}
    for ledger in ledgers:
        for row in _spending_rows(ledger):
            sites.setdefault(row, []).append(ledger.site)
    for row, names in sites.items():
        shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        table.add_row(*map(plain, (shown, *row)))
    return table


def _spending_rows(ledger: AuditedLedger) -> Iterator[tuple[str, ...]]:
    for study in ledger.studies:
        part = study.part.replace("_", " ")
        what = f"{study.study_name}, {part}, {study.cohort}, {study.releases}"
        for name, found in (("", study.epsilon), ("alone", study.epsilon_alone)):
            yield what, name, *epsilon_cells(found), ""
    for cohort in ledger.cohorts:
        what = f"all, worst patient, {cohort.cohort}, {cohort.releases}"
        for name, found, cap in (
            ("", cohort.epsilon, cohort.epsilon_cap),
            ("alone", cohort.epsilon_alone, cohort.epsilon_alone_cap),
        ):
            yield what, name, *epsilon_cells(found), "none" if cap is None else f"{cap:g}"


def _checks_table(checks: tuple[CheckResult, ...]) -> Table:
    table = Table("check", "", "what it means", title="Checks", box=SIMPLE, pad_edge=False)
    for check in checks:
        word, colour = {
            True: ("passed", "green"),
            False: ("FAILED", "red"),
            None: ("not made", "yellow"),
        }[check.passed]
        table.add_row(check.name, Text(word, style=colour), plain(check.sentence))
    return table
