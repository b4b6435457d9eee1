"""The accountants' table of a report again, from the events in its accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fedward.audits.books.recomputation import agrees, recomputed, worst_events
from fedward.audits.books.result import (
    AuditedLedger,
    CohortSpending,
    RecomputedEpsilon,
    StudySpending,
)
from fedward.audits.findings import Finding, Severity
from fedward.audits.report.document import Account, AuditReport, ChargeLine, SiteBooks
from fedward.audits.report.spending import study_charges
from fedward.common.errors import FedwardError, PrivacyRefusal
from fedward.common.privacy.cohort_spending import cohort_accounting_delta
from fedward.common.privacy.events import GaussianEvent, grouped
from fedward.common.privacy.sum_plan import PART_OF


def accountants_again(report: AuditReport) -> Iterator[Finding]:
    """What of the table does not follow from the accounts, or is about none of them.

    Where a report says itself that the books are not in order, what is about no account is a
    warning: a ledger that broke in the middle may have been read in part.
    """
    severity: Severity = "error" if report.vouched_for else "warning"
    sites = {site.site: site for site in report.sites}
    left = set(sites)
    for ledger in report.ledgers:
        where = f"ledgers, {ledger.site or 'one without a name'}"
        site = sites.get(ledger.site)
        if site is None or ledger.site not in left:
            yield _finding(severity, where, "is about no hospital on this page, or a second time")
            continue
        left.discard(ledger.site)
        for sentence in _differing(ledger, site):
            yield _finding(severity, where, sentence)
        yield from _of_ledger(ledger, site, severity)
    for name in sorted(left):
        yield _finding(severity, f"sites, {name}", "has no line in the accountants' table")


def _differing(ledger: AuditedLedger, site: SiteBooks) -> Iterator[str]:
    lines = [line for one in site.accounts if one.kind == "study" for line in one.charges]
    pairs: dict[str, tuple[Any, Any]] = {
        "ledger_id": (ledger.ledger_id, site.ledger_id),
        "entries": (ledger.entries, site.entries),
        "first": (ledger.first, site.first),
        "last": (ledger.last, site.last),
        "reserved": (ledger.reserved, sum(line.releases for line in lines)),
        "committed": (ledger.committed, sum(line.committed for line in lines)),
        "abandoned": (ledger.abandoned, sum(line.abandoned for line in lines)),
    }
    yield from _unequal(pairs)


def _of_ledger(ledger: AuditedLedger, site: SiteBooks, severity: Severity) -> Iterator[Finding]:
    accounts = {one.name: one for one in site.accounts if one.kind == "cohort"}
    left = set(accounts)
    for cohort in ledger.cohorts:
        where = f"ledgers, {ledger.site}, cohort {cohort.cohort}"
        account = accounts.get(cohort.cohort)
        if account is None or cohort.cohort not in left:
            yield _finding(severity, where, "is no cohort of this hospital's, or there twice")
            continue
        left.discard(cohort.cohort)
        for sentence in _of_cohort(cohort, account):
            yield _finding("error", where, sentence)
    for name in sorted(left):
        where = f"ledgers, {ledger.site}, cohort {name}"
        yield _finding(severity, where, "is missing in the accountants' table")
    for study in ledger.studies:
        where = f"ledgers, {ledger.site}, cohort {study.cohort}, {study.study_name}"
        account = accounts.get(study.cohort)
        deltas = site.of_study(study.study_digest)
        if account is None or deltas is None:
            yield _finding(severity, where, "is no study of this cohort's")
            continue
        for sentence in _of_study(study, account, delta=deltas.delta):
            yield _finding("error", where, sentence)


def _of_cohort(cohort: CohortSpending, account: Account) -> Iterator[str]:
    yield from _unequal(
        {
            "delta": (cohort.delta, account.delta),
            "cap": (cohort.epsilon_cap, account.epsilon_cap),
            "cap of epsilon alone": (cohort.epsilon_alone_cap, account.epsilon_alone_cap),
            "cohorts that share patients": (
                cohort.shares_patients_with,
                account.shares_patients_with,
            ),
            "releases": (cohort.releases, sum(line.releases for line in account.charges)),
        }
    )
    for alone, said in ((False, cohort.epsilon), (True, cohort.epsilon_alone)):
        events: tuple[GaussianEvent, ...] | None = None
        studies = study_charges(account.charges, alone=alone)
        delta = account.delta
        try:
            if studies is not None:
                events = worst_events(studies, delta=delta)[0] if account.charges else ()
            yield from _compared(said, events, cohort_accounting_delta(delta), alone=alone)
        except (FedwardError, ArithmeticError, ValueError) as error:
            yield f"cannot be computed again: {error}"


def _of_study(study: StudySpending, account: Account, *, delta: float) -> Iterator[str]:
    lines = [
        line
        for line in account.charges
        if line.study_digest == study.study_digest and PART_OF[line.sum] == study.part
    ]
    yield from _unequal(
        {
            "delta": (study.delta, delta),
            "releases": (study.releases, sum(line.releases for line in lines)),
        }
    )
    for alone, said in ((False, study.epsilon), (True, study.epsilon_alone)):
        try:
            yield from _compared(said, _events(lines, alone=alone), delta, alone=alone)
        except (FedwardError, ArithmeticError, ValueError) as error:
            yield f"cannot be computed again: {error}"


def _events(lines: Sequence[ChargeLine], *, alone: bool) -> tuple[GaussianEvent, ...] | None:
    found = []
    for line in lines:
        charged = line.event_alone if alone else line.event
        if charged is None:
            return None
        found.append(
            GaussianEvent(
                noise_multiplier=charged.noise_multiplier,
                sampling_rate=charged.sampling_rate,
                count=charged.count * line.releases,
            )
        )
    return grouped(found)


def _compared(
    said: RecomputedEpsilon,
    events: tuple[GaussianEvent, ...] | None,
    delta: float,
    *,
    alone: bool,
) -> Iterator[str]:
    name = "epsilon alone" if alone else "epsilon"
    try:
        again = recomputed(events, delta=delta)
    except PrivacyRefusal:
        # The books' own check says so, and gives no number.
        again = RecomputedEpsilon(epsilon=None, note=said.note)
    yield from _unlike(name, said.epsilon, again.epsilon)
    yield from _unlike(f"{name} by PRV, low,", said.prv_low, again.prv_low)
    yield from _unlike(f"{name} by PRV, high,", said.prv_high, again.prv_high)
    yield from _unlike(f"{name} by RDP", said.rdp, again.rdp)
    if said.note != again.note:
        yield f"{name} has the note {said.note[:80]!r}, but {again.note[:80]!r} belongs"


def _unlike(name: str, said: float | None, again: float | None) -> Iterator[str]:
    if said is None or again is None:
        if said is not again:
            yield f"{name} is given as {_named(said)}, but is {_named(again)}"
    elif not agrees(said, again):
        yield f"{name} is given as {said:g}, but its events cost {again:g}"


def _unequal(pairs: dict[str, tuple[Any, Any]]) -> Iterator[str]:
    for name, (said, found) in pairs.items():
        if said != found:
            yield f"has {name} {said}, but its account has {found}"


def _named(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"{epsilon:g}"


def _finding(severity: Severity, where: str, sentence: str) -> Finding:
    return Finding(severity=severity, where=where, sentence=sentence)
