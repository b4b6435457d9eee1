"""A report against the folder of its run: the same evidence, and the same report made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fedward.audits.findings import CheckResult, Finding
from fedward.audits.report.document import AuditReport, Evidence
from fedward.audits.report.gathering import gather
from fedward.audits.report.run_inputs import RunInputs, ledger_digest
from fedward.audits.report.signing import digest_of, parts_of
from fedward.client.vault.ledger_file import is_database, raw_of_file
from fedward.common.errors import FedwardError
from fedward.common.ledger.export import RawLedger, raw_of_export

_NOT_FACTS: Final = frozenset({"versions"})
"""Parts that may differ although nothing is wrong."""


def check_evidence(report: AuditReport, run: Path) -> CheckResult:
    """Whether each input of the report is in the folder, and unchanged.

    A ledger may have grown: its first entries are compared.
    """
    inputs = RunInputs(run)
    findings = []
    for item in report.evidence:
        problem = _changed(item, inputs)
        if problem:
            findings.append(_error(item.path, problem))
    return CheckResult(
        name="Evidence",
        passed=not findings,
        sentence=f"{len(findings)} of {len(report.evidence)} inputs are not what they were."
        if findings
        else f"All {len(report.evidence)} inputs are what they were.",
        findings=tuple(findings),
    )


def check_made_again(report: AuditReport, run: Path) -> CheckResult:
    """Whether the run's folder gives this very report, all checks of the books included.

    Of a ledger that grew, its first entries are read, as many as the report knows of.
    """
    name = "Made again"
    try:
        inputs = RunInputs(run)
        grown = tuple(item for item in report.evidence if _grown(item, inputs))
        again = gather(
            run,
            made=report.run.made,
            fresh_key=report.fresh_key,
            records=report.records_shown,
            first_entries={item.path: item.entries or 0 for item in grown},
            federation_key=report.run.federation_key if report.run.federation_key_given else None,
        )
    except FedwardError as error:
        return CheckResult(
            name=name,
            passed=False,
            sentence="The report cannot be made again from this folder.",
            findings=tuple(_error("", line) for line in str(error).splitlines()),
        )
    # The folder's own name is no fact about the run.
    again = again.model_copy(update={"run": again.run.model_copy(update={"name": report.run.name})})
    findings = tuple(_differing(report, again))
    return CheckResult(
        name=name,
        passed=not findings,
        sentence="The report that this folder gives is another one."
        if findings
        else "The whole report, its checks included, was made again from the folder and is equal."
        + _of_growth(grown),
        findings=findings,
    )


def _changed(item: Evidence, inputs: RunInputs) -> str | None:
    if not _is_within(item):
        return "is no place within a run's folder"
    file = inputs.folder / PurePosixPath(item.path)
    if not file.is_file():
        return "is missing"
    try:
        if item.kind == "file":
            inputs.content(item.path)
            found = next(one.sha256 for one in inputs.evidence if one.path == item.path)
            return None if found == item.sha256 else "was changed"
        raw = _raw(file)
    except FedwardError as error:
        return str(error)
    count = item.entries or 0
    if len(raw.lines) < count:
        return f"has {len(raw.lines)} entries, and had {count}"
    return None if ledger_digest(raw.lines[:count]) == item.sha256 else "was changed"


def _grown(item: Evidence, inputs: RunInputs) -> bool:
    """Whether a ledger has more entries than the report knows of."""
    file = inputs.folder / PurePosixPath(item.path)
    if item.kind != "ledger" or not _is_within(item) or not file.is_file():
        return False
    return len(_raw(file).lines) > (item.entries or 0)


def _of_growth(grown: Sequence[Evidence]) -> str:
    if not grown:
        return ""
    one = len(grown) == 1
    return (
        f" {len(grown)} ledger{' has' if one else 's have'} more entries now than the report knows "
        "of; as many as it knows were read, and what came later is in none of its numbers."
    )


def _is_within(item: Evidence) -> bool:
    path = PurePosixPath(item.path)
    return not (path.is_absolute() or ".." in path.parts)


def _raw(file: Path) -> RawLedger:
    return raw_of_file(file) if is_database(file) else raw_of_export(file)


def _differing(report: AuditReport, again: AuditReport) -> Iterator[Finding]:
    theirs, ours = parts_of(report), parts_of(again)
    for part in sorted(theirs.keys() | ours.keys()):
        if part in _NOT_FACTS:
            continue
        one, other = theirs.get(part), ours.get(part)
        if digest_of(one) != digest_of(other):
            place, said, found = _first_difference(part, one, other)
            yield _error(place, f"says {_short(said)}, but the folder gives {_short(found)}")


def _first_difference(place: str, one: Any, other: Any) -> tuple[str, Any, Any]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                return _first_difference(f"{place}.{name}", one.get(name), other.get(name))
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                return _first_difference(f"{place}[{index}]", left, right)
    return place, one, other


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _error(where: str, sentence: str) -> Finding:
    return Finding(severity="error", where=where, sentence=sentence)
