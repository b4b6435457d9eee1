"""``fedward audit verify``: whether a report is what its auditor signed, and adds up.

Offline and from the file alone: form, signature, each part's digest, every epsilon computed again
from the events in the report, and the page drawn again. With the run's folder also the evidence,
and the whole report made again. A signature shows who vouches for a report, not that its author
read the evidence rightly: making it again does.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fedward.audits.findings import CheckResult, Finding
from fedward.audits.report.document import AuditReport
from fedward.audits.report.evidence_check import check_evidence, check_made_again
from fedward.audits.report.inert_page import check_inert
from fedward.audits.report.lower_bounds import check_bounds
from fedward.audits.report.page import page_digest, render_page
from fedward.audits.report.reading import ReadReport, read_report
from fedward.audits.report.recomputation import check_epsilons
from fedward.audits.report.signing import SignedReport
from fedward.audits.report.text_difference import differences

DRAWN: Final = "Numbers on the page"
"""The check that the page says what its data say."""


def verify_report(
    path: Path, *, auditor_key: bytes | None = None, run: Path | None = None
) -> tuple[CheckResult, ...]:
    """All checks of one report; whether it stands says :func:`accepted`.

    ``auditor_key`` (32 bytes) is the key that the report should be signed with, ``run`` the folder
    of the run that it is about.

    Raises:
        InputError: the file is no report, or the run cannot be read.
    """
    read = read_report(path)
    signed = read.signed
    if signed is None:
        findings = tuple(_error("", problem) for problem in read.problems)
        return (_check("Form", False, "The data do not have a report's form.", findings),)
    checks = [
        _form(read, signed),
        _signature(signed),
        _parts(signed),
        _auditor(signed, auditor_key),
        check_epsilons(signed.report),
        check_bounds(signed.report),
    ]
    if read.around is not None:
        checks += [
            check_inert(read.around),
            _page(read.around, signed),
            _drawn_again(read.around, signed),
        ]
    checks += _evidence(signed.report, run)
    return tuple(checks)


def accepted(checks: Sequence[CheckResult]) -> bool:
    """Whether a report stands: nothing failed, and a page was compared with its data."""
    undrawn = any(check.name == DRAWN and check.passed is None for check in checks)
    return not undrawn and all(check.passed is not False for check in checks)


def _evidence(report: AuditReport, run: Path | None) -> tuple[CheckResult, ...]:
    if run is not None:
        made: tuple[CheckResult, ...] = (check_evidence(report, run), check_made_again(report, run))
    else:
        made = tuple(
            CheckResult(name=name, passed=None, sentence=sentence)
            for name, sentence in (
                (
                    "Evidence",
                    "Without the run's folder (--run) the files were not read. That ledgers, log "
                    "and checks are as the report tells is the auditor's word.",
                ),
                ("Made again", "Without the run's folder (--run) the report was not made again."),
            )
        )
    if report.empirical is None and report.attacks is None:
        return made
    tried = CheckResult(
        name="Empirical, attacks",
        passed=None,
        sentence="What meters, guesses and attacks showed is taken on the auditor's word: nobody "
        "else signed it, and it is not run again here. fedward audit empirical and fedward audit "
        "attack do that.",
    )
    return (*made, tried)


def _form(read: ReadReport, signed: SignedReport) -> CheckResult:
    # A page's data keep their last line feed, so that both forms hold equal text.
    expected = signed.text()
    findings = [] if read.data == expected else differences(read.data, expected, where="data")
    return _check(
        "Form",
        not findings,
        "The data are written as fedward writes them, to the byte."
        if not findings
        else "The data were written by other hands: something was added or rewritten.",
        tuple(findings),
    )


def _signature(signed: SignedReport) -> CheckResult:
    key = signed.statement.auditor_key
    if signed.is_signed:
        return _check("Signature", True, f"The statement is signed with the key {key}.")
    return _check(
        "Signature",
        False,
        "The statement is not signed with the key that it names, so it, the key or the signature "
        "was changed.",
        (_error("statement", f"no valid signature of {key}"),),
    )


def _parts(signed: SignedReport) -> CheckResult:
    changed = signed.changed_parts()
    findings = tuple(_error(part, "is not what the auditor signed") for part in changed)
    parts = len(signed.statement.parts)
    sentence = (
        f"{len(changed)} of {parts} parts were changed after the statement was made."
        if changed
        else f"All {parts} parts of the report are as the statement has them."
    )
    return _check("Parts", not changed, sentence, findings)


def _auditor(signed: SignedReport, wanted: bytes | None) -> CheckResult:
    key = bytes.fromhex(signed.statement.auditor_key)
    if wanted is None:
        return CheckResult(
            name="Auditor",
            passed=None,
            sentence="No key was given to compare with, so anyone may have made this report. Ask "
            f"the auditor whether {key.hex()} is theirs, and give it with --auditor-key.",
        )
    if hmac.compare_digest(key, wanted):
        return _check("Auditor", True, "The key is the one that you gave.")
    return _check(
        "Auditor",
        False,
        "The report is signed with another key than the one that you gave.",
        (_error("statement.auditor_key", f"is {key.hex()}, not {wanted.hex()}"),),
    )


def _page(around: str, signed: SignedReport) -> CheckResult:
    if page_digest(around) == signed.statement.page:
        return _check("Page", True, "The page around the data is the one that was signed.")
    return _check(
        "Page",
        False,
        "The page around the data is not the one that was signed.",
        (_error("page", "its SHA-256 is not the one in the statement"),),
    )


def _drawn_again(around: str, signed: SignedReport) -> CheckResult:
    """Held apart from the digest: it also finds an auditor who signed a page of other numbers."""
    own = version("fedward")
    theirs = signed.report.versions.get("fedward")
    try:
        expected = render_page(signed.report, auditor_key=signed.statement.auditor_key)
    except Exception as error:  # data of anyone's making must end in a sentence
        return _check(
            DRAWN,
            False,
            "No page can be drawn from the data.",
            (_error("data", f"{type(error).__name__}: {error}"),),
        )
    if around == expected:
        return _check(DRAWN, True, "The page says what its data say, everywhere.")
    findings = tuple(differences(around, expected, where="page"))
    if theirs != own:
        return CheckResult(
            name=DRAWN,
            passed=None,
            sentence=f"The page names fedward {theirs} as its maker and this is {own}, so it could "
            "not be compared with its data, and may say anything. Take that version to compare, or "
            "believe the data alone.",
            findings=tuple(finding.model_copy(update={"severity": "info"}) for finding in findings),
        )
    return _check(DRAWN, False, "The page does not say what its data say.", findings)


def _check(
    name: str, passed: bool, sentence: str, findings: tuple[Finding, ...] = ()
) -> CheckResult:
    return CheckResult(name=name, passed=passed, sentence=sentence, findings=findings)


def _error(where: str, sentence: str) -> Finding:
    return Finding(severity="error", where=where, sentence=sentence)
