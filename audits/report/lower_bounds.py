"""Empirical lower bounds again, from how many guesses were made and how many were right.

Both methods follow from the guesses; that for the claimed family also takes the events that it was
claimed for. Whether so many guesses were right is the auditor's word: nothing here can show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fedward.audits.empirical.f_dp_bound import f_dp_epsilon
from fedward.audits.empirical.guesses import Guessed
from fedward.audits.empirical.one_run_bound import one_run_epsilon
from fedward.audits.empirical.result import AuditedClaim, EmpiricalAudit, LowerBound
from fedward.audits.findings import CheckResult, Finding
from fedward.audits.report.document import AuditReport
from fedward.common.errors import FedwardError
from fedward.common.privacy.accounting import epsilon_of

TOLERANCE: Final = 2e-3
"""Bounds are rounded down to 1e-3."""
F_DP_TOLERANCE: Final = 1e-2
"""A step of the noise is 0.27 %, and another machine may end one step away: relative."""
MOST_CANARIES: Final = 100_000
MOST_EVENTS: Final = 16
"""Above these nothing is computed, which could take anyone's time."""
ROUNDING: Final = 1e-3
"""Epsilons of a claim are rounded up, and its bounds down."""


def check_bounds(report: AuditReport) -> CheckResult:
    """Whether the lower bounds follow from their guesses, and are held to the study's own claim.

    None if one of them cannot be computed again: then the sentence says how many.
    """
    name = "Lower bounds"
    if report.empirical is None or not report.empirical.claims:
        return CheckResult(name=name, passed=None, sentence="The report has no lower bounds.")
    empirical = report.empirical
    findings = list(bounds_again(empirical))
    if empirical.study_digest == report.study.digest:
        findings += claims_of_study(report)
    if findings:
        return CheckResult(
            name=name,
            passed=False,
            sentence="Some lower bounds do not follow from the guesses in the report, or are held "
            "to another claim than the study's.",
            findings=tuple(findings),
        )
    open_ones = sum(
        bound.method != "steinke_nasr_jagielski_2023" and not claim.events
        for claim in empirical.claims
        for bound in claim.bounds
    )
    if open_ones:
        return CheckResult(
            name=name,
            passed=None,
            sentence=f"{open_ones} of the lower bounds cannot be computed again, because the "
            "report does not tell the events that they were claimed for; the others follow from "
            "the guesses.",
        )
    return CheckResult(
        name=name,
        passed=True,
        sentence="The lower bounds follow from the guesses in the report. That so many were right "
        "is the auditor's word.",
    )


def bounds_again(empirical: EmpiricalAudit) -> Iterator[Finding]:
    """What does not follow; a bound for the claimed family is left out if it has no events."""
    for claim in empirical.claims:
        for bound in claim.bounds:
            try:
                problem = _problem(claim, bound)
            except (FedwardError, ArithmeticError, ValueError) as error:
                problem = f"cannot be computed again: {error}"
            if problem:
                yield _error(f"empirical, {claim.name}, {bound.method}", problem)


def claims_of_study(report: AuditReport) -> Iterator[Finding]:
    """Claims that cannot be this study's, as far as the report by itself can tell.

    "epsilon" is at most what the study promises, at its delta, and the events of any claim cost no
    more than it. What exactly the plan claims is held against the study when a report is made.
    """
    names = [claim.name for claim in report.empirical.claims] if report.empirical else []
    for claim in report.empirical.claims if report.empirical else ():
        where = f"empirical, {claim.name}"
        if names.count(claim.name) > 1:
            yield _error(where, "is claimed twice")
        if claim.delta != report.study.delta:
            yield _error(where, f"is at delta {claim.delta:g}, not {report.study.delta:g}")
        if claim.name == "epsilon" and claim.claimed > report.study.epsilon + ROUNDING:
            yield _error(
                where,
                f"is claimed to be {claim.claimed:g}, but the study promises "
                f"{report.study.epsilon:g}",
            )
        if claim.events and len(claim.events) <= MOST_EVENTS:
            try:
                cost = epsilon_of([one.event() for one in claim.events], delta=claim.delta)
            except (FedwardError, ArithmeticError, ValueError) as error:
                yield _error(where, f"has events that cannot be computed: {error}")
                continue
            if cost > claim.claimed * (1 + ROUNDING) + ROUNDING:
                yield _error(
                    where, f"is claimed to be {claim.claimed:g}, but its events cost {cost:g}"
                )


def _problem(claim: AuditedClaim, bound: LowerBound) -> str | None:
    if bound.canaries > MOST_CANARIES or len(claim.events) > MOST_EVENTS:
        return "rests on more canaries or events than any audit has"
    if not 0 < bound.confidence < 1:
        return f"has no confidence between 0 and 1: {bound.confidence:g}"
    try:
        guessed = Guessed(
            canaries=bound.canaries,
            guesses=bound.guesses,
            correct=bound.correct,
            sides=bound.sides,
        )
    except ValueError:
        return "has more right guesses than guesses, or more guesses than marked patients"
    if bound.method == "steinke_nasr_jagielski_2023":
        again = one_run_epsilon(guessed, delta=claim.delta, confidence=bound.confidence)
        near = TOLERANCE
    elif claim.events:
        events = tuple(event.event() for event in claim.events)
        again = f_dp_epsilon(guessed, events, delta=claim.delta, confidence=bound.confidence)
        near = TOLERANCE + F_DP_TOLERANCE * again
    else:
        return None
    if not abs(again - bound.epsilon) <= near:
        return f"is given as {bound.epsilon:g}, but {again:g} follows from the guesses"
    return None


def _error(where: str, sentence: str) -> Finding:
    return Finding(severity="error", where=where, sentence=sentence)
