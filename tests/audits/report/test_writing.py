from __future__ import annotations

from pathlib import Path

import pytest

from fedward.audits.report.auditor_key import make_auditor_key
from fedward.audits.report.page import taken_apart
from fedward.audits.report.verification import verify_report
from fedward.audits.report.writing import write_report
from fedward.common.errors import InputError

MADE = "2026-11-21T16:00:00Z"


def test_page_and_json_hold_the_same_data(own_run: Path) -> None:
    written = write_report(own_run, key=None, output=None, made=MADE)
    assert written.page == own_run / "audit" / "report.html"
    assert written.document == own_run / "audit" / "report.json"
    _, data = taken_apart(written.page.read_text("utf-8"))
    assert data == written.document.read_text("utf-8") == written.signed.text()


def test_without_a_key_one_is_made_and_kept(own_run: Path) -> None:
    first = write_report(own_run, key=None, output=None, made=MADE)
    assert first.signed.report.fresh_key
    key = own_run / "audit" / "auditor.key"
    assert key.stat().st_mode & 0o777 == 0o600
    page = first.page.read_bytes()
    again = write_report(own_run, key=None, output=None, made=MADE)
    assert again.page.read_bytes() == page


def test_with_a_key_none_is_made(own_run: Path, tmp_path: Path) -> None:
    identity = make_auditor_key(tmp_path / "mine.key")
    output = tmp_path / "deep" / "reports"
    written = write_report(own_run, key=tmp_path / "mine.key", output=output, made=MADE)
    assert written.page.parent == output
    assert not (own_run / "audit" / "auditor.key").exists()
    assert not written.signed.report.fresh_key
    checks = verify_report(written.page, auditor_key=identity.public_key, run=own_run)
    assert all(check.passed or check.name == "Empirical, attacks" for check in checks)


def test_a_report_does_not_become_evidence_of_the_next(own_run: Path) -> None:
    first = write_report(own_run, key=None, output=None, made=MADE)
    again = write_report(own_run, key=None, output=None, made=MADE)
    assert again.signed.report.evidence == first.signed.report.evidence
    checks = verify_report(first.page, run=own_run)
    assert not [check for check in checks if check.passed is False]


def test_a_folder_that_cannot_hold_it_is_named(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot hold the report"):
        write_report(own_run, key=None, output=tmp_path / "file", made=MADE)
