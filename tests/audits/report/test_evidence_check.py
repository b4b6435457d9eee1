from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from fedward.audits.findings import CheckResult
from fedward.audits.report.document import AuditReport, Evidence
from fedward.audits.report.evidence_check import check_evidence, check_made_again

LAST_TWO = "DELETE FROM entries WHERE sequence >= (SELECT max(sequence) - 1 FROM entries)"


def said(check: CheckResult) -> str:
    return " | ".join(f"{finding.where}: {finding.sentence}" for finding in check.findings)


def test_the_same_folder_gives_the_same_report(body: AuditReport, own_run: Path) -> None:
    assert check_evidence(body, own_run).passed is True
    assert check_made_again(body, own_run).passed is True


def test_it_does_not_matter_where_the_folder_is(
    body: AuditReport, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = own_run.rename(own_run.with_name("elsewhere"))
    monkeypatch.chdir(moved.parent)
    assert check_evidence(body, Path("elsewhere")).passed is True
    assert check_made_again(body, Path("elsewhere")).passed is True


@pytest.mark.parametrize(
    "path",
    [
        "books/study.json",
        "books/roster.json",
        "books/federation.pub",
        "books/coordinator.jsonl",
        "books/sites/site-1/site.toml",
        "audit/empirical.json",
        "audit/attack.json",
    ],
)
def test_a_changed_file_is_named(path: str, body: AuditReport, own_run: Path) -> None:
    content = bytearray((own_run / path).read_bytes())
    content[len(content) // 2] ^= 1
    (own_run / path).write_bytes(content)
    check = check_evidence(body, own_run)
    assert check.passed is False
    assert said(check) == f"{path}: was changed"


@pytest.mark.parametrize("path", ["books/roster.json", "books/sites/site-2/ledger.sqlite"])
def test_a_missing_file_is_named(path: str, body: AuditReport, own_run: Path) -> None:
    (own_run / path).unlink()
    assert said(check_evidence(body, own_run)) == f"{path}: is missing"
    assert check_made_again(body, own_run).passed is False


def test_a_changed_entry_of_a_ledger_is_named(body: AuditReport, own_run: Path) -> None:
    path = "books/sites/site-1/ledger.sqlite"
    alter(own_run / path, "UPDATE entries SET body = replace(body, 'small', 'smell')")
    check = check_evidence(body, own_run)
    assert said(check) == f"{path}: was changed"
    again = check_made_again(body, own_run)
    assert again.passed is False
    assert "site-1" in said(again)


def test_a_ledger_that_lost_entries_is_named(body: AuditReport, own_run: Path) -> None:
    path = "books/sites/site-0/ledger.sqlite"
    had = next(item.entries for item in body.evidence if item.path == path)
    assert had is not None
    alter(own_run / path, LAST_TWO)
    assert said(check_evidence(body, own_run)) == f"{path}: has {had - 2} entries, and had {had}"


def test_a_ledger_that_grew_is_no_fault(body: AuditReport, own_run: Path) -> None:
    from fedward.client.vault.durable_ledger import DurableLedger
    from fedward.common.secure_sum.signatures import SiteIdentity

    folder = own_run / "books" / "sites" / "site-0"
    identity = SiteIdentity.from_private_bytes(bytes.fromhex((folder / "identity.key").read_text()))
    with_entry = DurableLedger(folder / "ledger.sqlite", site="site-0", identity=identity)
    with_entry.raise_budget("patients", epsilon_cap=9.0, epsilon_alone_cap=None, reason="A test.")
    with_entry.close()
    assert check_evidence(body, own_run).passed is True
    again = check_made_again(body, own_run)
    assert again.passed is True, said(again)
    assert "1 ledger has more entries now" in again.sentence
    # What the report says of the first entries is held to them all the same.
    lie = body.checks[0].model_copy(update={"passed": False})
    lied = body.model_copy(update={"checks": (lie, *body.checks[1:])})
    assert check_made_again(lied, own_run).passed is False


def test_a_report_of_another_run_is_told_apart(body: AuditReport, own_run: Path) -> None:
    study = json.loads((own_run / "books" / "study.json").read_text())
    study["about"]["title"] = "Another"
    (own_run / "books" / "study.json").write_text(json.dumps(study))
    check = check_made_again(body, own_run)
    assert check.passed is False
    assert "study.digest" in said(check)


def test_a_lie_about_a_check_is_found_by_making_it_again(body: AuditReport, own_run: Path) -> None:
    lie = body.checks[0].model_copy(update={"passed": False})
    lied = body.model_copy(update={"checks": (lie, *body.checks[1:])})
    assert check_evidence(lied, own_run).passed is True
    assert said(check_made_again(lied, own_run)) == (
        "checks[0].passed: says False, but the folder gives True"
    )


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "books/../../secret"])
def test_a_path_out_of_the_folder_is_not_followed(
    path: str, body: AuditReport, own_run: Path
) -> None:
    (own_run.parent / "secret").write_text("secret")
    item = Evidence(path=path, kind="file", sha256="0" * 64)
    found = check_evidence(body.model_copy(update={"evidence": (item,)}), own_run)
    assert said(found) == f"{path}: is no place within a run's folder"


def alter(ledger: Path, statement: str) -> None:
    """Change a ledger's file as somebody with an SQLite client could."""
    connection = sqlite3.connect(ledger)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    for (name,) in connection.execute(triggers).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    with connection:
        connection.execute(statement)
    connection.close()
