"""``fedward audit report`` and ``fedward audit verify``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedward.audits.findings import CheckResult

FAILED = 1
MOST_FINDINGS = 12


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run with books.")],
    *,
    key: Annotated[
        Path | None,
        typer.Option(help="The auditor's private key file; one is made if left out."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.json [RUN/audit].")
    ] = None,
    federation_key: Annotated[
        str | None,
        typer.Option(
            help="The federation's public key as its sites keep it, 64 hexadecimal digits.",
            metavar="HEX",
        ),
    ] = None,
    no_records: Annotated[
        bool,
        typer.Option("--no-records", help="Leave out the records that attacks were tried on."),
    ] = False,
) -> None:
    """Write the audit of a run as a signed page for people who are not cryptographers.

    Takes the run's books, and audit/empirical.json and audit/attack.json if they are there.
    Ends with 1 if the report cannot vouch for the run, or if an attack worked on what it released.
    """
    from fedward.audits.report.guarantee import headline_of, promises_of, verdict_of
    from fedward.audits.report.writing import write_report

    written = write_report(
        run,
        key=key,
        output=output,
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        records=not no_records,
        federation_key=federation_key,
    )
    console = Console()
    body = written.signed.report
    verdict = verdict_of(body)
    console.print(Text(f"{verdict.words}. {verdict.sentence}", style="bold"))
    console.print(Text(headline_of(body, promises_of(body))))
    for check in body.failed:
        first = check.findings[0] if check.findings else None
        why = f"{first.where}: {first.sentence}" if first else check.sentence
        console.print(Text(f"failed: {check.name}: {why}", style="red"))
    shown = sum(len(a.reconstructions) for a in (body.attacks.attacks if body.attacks else ()))
    if shown:
        console.print(
            Text(f"The report holds {shown} records that attacks were tried on (--no-records).")
        )
    console.print(Text(f"page: {written.page}", overflow="fold"))
    console.print(Text(f"check: fedward audit verify {written.page}", overflow="fold"))
    if body.worked or not body.vouched_for:
        raise typer.Exit(FAILED)


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.html, or a report.json.")
    ],
    *,
    auditor_key: Annotated[
        str | None,
        typer.Option(help="The auditor's public key, 64 hexadecimal digits.", metavar="HEX"),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The folder of the run, to read the evidence again.")
    ] = None,
) -> None:
    """Check a report offline: its signature, its numbers, its page, and with --run its evidence.

    Ends with 1 if anything was changed or does not add up, and if a page could not be compared with
    its data because another version made it.
    """
    from fedward.audits.report.verification import accepted, verify_report

    checks = verify_report(file, auditor_key=_key_of(auditor_key), run=run)
    console = Console()
    console.print(_table(checks))
    failed = [check for check in checks if check.passed is False]
    for check in failed:
        for finding in check.findings[:MOST_FINDINGS]:
            where = f"{finding.where}: " if finding.where else ""
            console.print(Text(f"{check.name}: {where}{finding.sentence}", style="red"))
        left_out = len(check.findings) - MOST_FINDINGS
        if left_out > 0:
            console.print(Text(f"{check.name}: and {left_out} more", style="red"))
    if not accepted(checks):
        raise typer.Exit(FAILED)


def _key_of(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise InputError(
            source="--auditor-key",
            field="",
            problem="is no key of 64 hexadecimal digits (0-9, a-f)",
            fix="give the public key as the auditor told it to you",
        )
    return bytes.fromhex(text.strip())


def _table(checks: Sequence[CheckResult]) -> Table:
    marks = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("not made", "yellow")}
    table = Table("check", "result", "what was found", title="Report")
    for check in checks:
        words, style = marks[check.passed]
        table.add_row(check.name, Text(words, style=style), Text(check.sentence, overflow="fold"))
    return table
