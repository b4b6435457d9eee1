"""Making a report: gathered, drawn, signed, and written as page and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedward.audits.report.auditor_key import make_auditor_key, read_auditor_key
from fedward.audits.report.document import AuditReport
from fedward.audits.report.gathering import gather
from fedward.audits.report.page import JSON_NAME, PAGE_NAME, page_digest, render_page, with_data
from fedward.audits.report.run_inputs import AUDIT
from fedward.audits.report.signing import SignedReport
from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity

KEY_NAME: Final = "auditor.key"


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """A report, and where its page and its JSON are."""

    signed: SignedReport
    page: Path
    document: Path


def write_report(
    run: Path,
    *,
    key: Path | None,
    output: Path | None,
    made: str,
    records: bool = True,
    federation_key: str | None = None,
) -> WrittenReport:
    """Report on a run. Everything is rendered before anything is written, but for a new key.

    Without ``key`` the report is signed with ``RUN/audit/auditor.key``, which is made if it is not
    there. ``output`` None is ``RUN/audit``. ``federation_key`` is :func:`gather`'s.

    Raises:
        InputError: the run, the key or the folder cannot be used.
    """
    body = gather(
        run, made=made, fresh_key=key is None, records=records, federation_key=federation_key
    )
    signed, page = signed_report(body, auditor=_auditor(run, key))
    folder = run / AUDIT if output is None else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / JSON_NAME, signed.text().encode())
        replace_file(folder / PAGE_NAME, page.encode())
    except OSError as error:
        raise InputError(
            source=str(folder),
            field="",
            problem=f"cannot hold the report: {error.strerror}",
            fix="choose another --output folder",
        ) from error
    return WrittenReport(signed=signed, page=folder / PAGE_NAME, document=folder / JSON_NAME)


def signed_report(body: AuditReport, *, auditor: SiteIdentity) -> tuple[SignedReport, str]:
    """A body under the auditor's signature, and its page with the signed data in it."""
    # As it will be read back: numbers and orders that JSON does not keep must not be drawn.
    body = AuditReport.model_validate_json(body.model_dump_json())
    around = render_page(body, auditor_key=auditor.public_key.hex())
    signed = SignedReport.sign(body, page=page_digest(around), auditor=auditor)
    return signed, with_data(around, signed.text())


def _auditor(run: Path, key: Path | None) -> SiteIdentity:
    if key is not None:
        return read_auditor_key(key)
    own = run / AUDIT / KEY_NAME
    return read_auditor_key(own) if own.exists() else make_auditor_key(own)
