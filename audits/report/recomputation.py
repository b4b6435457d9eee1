"""Every epsilon of a report again, from the events in it; and whether its parts agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fedward.audits.findings import CheckResult, Finding
from fedward.audits.report.accountants_check import accountants_again
from fedward.audits.report.document import Account, AuditReport, SiteBooks
from fedward.audits.report.spending import epsilons_of
from fedward.common.errors import FedwardError

TOLERANCE: Final = 2e-4
"""Epsilons are rounded up to 1e-4, and another machine may round to the next one."""


def check_epsilons(report: AuditReport) -> CheckResult:
    """Whether each epsilon of each ledger is what its events cost, at every moment."""
    findings = [finding for site in report.sites for finding in _of_site(site)]
    findings += _of_study(report)
    findings += accountants_again(report)
    wrong = any(finding.severity == "error" for finding in findings)
    moments = sum(len(account.moments) for site in report.sites for account in site.accounts)
    sentence = (
        "Some epsilons in the report are not what its events cost."
        if wrong
        else f"Both epsilons of all {moments} moments, and those of the other accountants, were "
        "computed again from the events in the report, and agree."
        if moments
        else "Nothing was spent, so there is no epsilon to compute again."
    )
    return CheckResult(
        name="Epsilons", passed=not wrong, sentence=sentence, findings=tuple(findings)
    )


def _of_site(site: SiteBooks) -> Iterator[Finding]:
    for account in site.accounts:
        where = f"sites, {site.site}, {account.kind} {account.name}"
        try:
            yield from _of_account(account, where)
        except (FedwardError, ArithmeticError, ValueError) as error:
            yield _error(where, f"cannot be computed again: {error}")


def _of_account(account: Account, where: str) -> Iterator[Finding]:
    totals = tuple(line.releases for line in account.charges)
    if any(line.committed + line.abandoned > line.releases for line in account.charges):
        yield _error(where, "more releases were committed or abandoned than reserved")
    before: tuple[int, ...] = (0,) * len(totals)
    for moment in account.moments:
        here = f"{where}, entry {moment.sequence}"
        if len(moment.releases) != len(totals):
            yield _error(
                here, f"counts {len(moment.releases)} kinds of releases, not {len(totals)}"
            )
            continue
        if any(now < then for now, then in zip(moment.releases, before, strict=True)):
            yield _error(here, "counts fewer releases than the moment before")
        before = moment.releases
        again = epsilons_of(account.charges, moment.releases, delta=account.delta)
        said = moment.epsilon, moment.epsilon_alone
        yield from _compared(said, again, here)
    last = account.moments[-1] if account.moments else None
    if (last.releases if last else ()) != totals and any(totals):
        yield _error(where, "its last moment does not count all releases")
    end = (last.epsilon, last.epsilon_alone) if last else (0.0, 0.0)
    yield from _compared((account.epsilon, account.epsilon_alone), end, where)


def _of_study(report: AuditReport) -> Iterator[Finding]:
    """What was spent of this study must be counted at the delta that it promises."""
    for site in report.sites:
        account = site.of_study(report.study.digest)
        if account is not None and account.delta != report.study.delta:
            yield _error(
                f"sites, {site.site}, study {account.name}",
                f"is counted at delta {account.delta:g}, but the study's is {report.study.delta:g}",
            )


def _compared(
    said: tuple[float | None, float | None], again: tuple[float | None, float | None], where: str
) -> Iterator[Finding]:
    for name, one, other in zip(("epsilon", "epsilon alone"), said, again, strict=True):
        if one is None or other is None:
            if one is not other:
                yield _error(where, f"{name} is given as {_named(one)}, but is {_named(other)}")
        elif abs(one - other) > TOLERANCE:
            yield _error(where, f"{name} is given as {one:g}, but its events cost {other:g}")


def _named(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"{epsilon:g}"


def _error(where: str, sentence: str) -> Finding:
    return Finding(severity="error", where=where, sentence=sentence)
