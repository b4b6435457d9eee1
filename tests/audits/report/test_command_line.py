from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fedward.audits.report.auditor_key import make_auditor_key
from fedward.audits.report.command_line import report, verify
from fedward.audits.report.document import AuditReport
from fedward.audits.report.page import page_digest, render_page, with_data
from fedward.audits.report.signing import SignedReport
from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity

app = typer.Typer()
app.command()(report)
app.command()(verify)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_a_report_is_written_and_verified(
    own_run: Path, tmp_path: Path, federation_key: str
) -> None:
    identity = make_auditor_key(tmp_path / "my.key")
    output = tmp_path / "out"
    given = ("--key", tmp_path / "my.key", "--federation-key", federation_key)
    code, said = run("report", own_run, *given, "--output", output)
    assert code == 0
    assert "The books are in order" in said
    assert "Anyone who saw everything that left these 3 hospitals" in said
    assert "2 records that attacks were tried on" in said
    key = identity.public_key.hex()
    for name in ("report.html", "report.json"):
        code, said = run("verify", output / name, "--auditor-key", key, "--run", own_run)
        assert code == 0
        assert "FAILED" not in said


def test_records_are_left_out_on_request(own_run: Path) -> None:
    code, said = run("report", own_run, "--no-records")
    assert code == 0
    assert "records that attacks" not in said
    assert "pixel_0_0" not in (own_run / "audit" / "report.json").read_text()
    assert run("verify", own_run / "audit" / "report.html", "--run", own_run)[0] == 0


def test_a_run_with_a_fault_is_reported_and_ends_with_1(own_run: Path) -> None:
    log = own_run / "books" / "coordinator.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:2] + lines[3:]))
    code, said = run("report", own_run)
    assert code == 1
    assert "Do not rely on this run" in said
    assert "failed: run_log" in said
    assert "verdict bad" in (own_run / "audit" / "report.html").read_text()
    # The report itself is in order: it says what is wrong.
    assert run("verify", own_run / "audit" / "report.html", "--run", own_run)[0] == 0


@pytest.mark.parametrize("what", ["attack", "bound", "ledger"])
def test_what_no_one_should_rely_on_ends_with_1(what: str, own_run: Path) -> None:
    name = "attack.json" if what == "attack" else "empirical.json"
    path = own_run / "audit" / name
    document = json.loads(path.read_text())
    if what == "attack":
        document["attacks"][0]["worked_against_release"] = True
    elif what == "bound":
        document["claims"][0]["bounds"][1]["epsilon"] = 9.0
    else:
        shutil.rmtree(own_run / "books" / "sites" / "site-1")
    path.write_text(json.dumps(document))
    code, said = run("report", own_run)
    assert code == 1
    words = {"attack": "an attack worked", "bound": "did better", "ledger": "No ledger of site-1"}
    assert words[what] in said or words[what].lower() in said


def test_a_page_of_another_version_ends_with_1(
    body: AuditReport, auditor: SiteIdentity, tmp_path: Path
) -> None:
    foreign = body.model_copy(update={"versions": {**body.versions, "fedward": "9.9"}})
    around = render_page(foreign, auditor_key=auditor.public_key.hex())
    around = around.replace("right guesses at most", "right guesses")
    signed = SignedReport.sign(foreign, page=page_digest(around), auditor=auditor)
    path = tmp_path / "report.html"
    path.write_text(with_data(around, signed.text()))
    code, said = run("verify", path)
    assert code == 1
    assert "fedward 9.9" in said


def test_a_changed_report_ends_with_1_and_names_the_part(own_run: Path) -> None:
    run("report", own_run)
    path = own_run / "audit" / "report.json"
    path.write_text(path.read_text().replace('"title": "A small study"', '"title": "Mine"'))
    code, said = run("verify", path)
    assert code == 1
    assert "Parts: study: is not what the auditor signed" in said


def test_many_findings_are_cut_short(own_run: Path) -> None:
    run("report", own_run)
    path = own_run / "audit" / "report.json"
    path.write_text(path.read_text().replace('"passed": true', '"passed": false'))
    code, said = run("verify", path)
    assert code == 1
    assert "Parts: and " in said


@pytest.mark.parametrize("key", ["", "ab", "x" * 64])
def test_a_key_that_is_none_is_an_error_of_one_sentence(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        run("verify", tmp_path / "report.json", "--auditor-key", key)


def test_a_folder_without_books_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no books"):
        run("report", tmp_path)
    assert list(tmp_path.iterdir()) == []
