"""``fedward audit ledger``, ``plan`` and ``steps``: exit codes, sentences and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fedward.audits.books.documented_steps import StepsAudit
from fedward.audits.books.plan_result import PlanCost
from fedward.audits.books.result import LedgerAudit
from fedward.common.command_line import COMMANDS_GROUP, run

MakeLedger = Callable[..., Any]
Written = Callable[[Iterable[str]], Path]
ROOMS = {
    "audit": EntryPoint("audit", "fedward.audits.command_line:app", COMMANDS_GROUP),
}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def audit(*arguments: str | Path) -> int:
    return run(["audit", *map(str, arguments)], rooms=ROOMS)


def test_the_folder_of_a_run_is_all_that_its_audit_needs(
    run_books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit.json"

    code = audit("ledger", run_books, "--json", out)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "The books are in order: 18 checks passed, none failed; not made: roster." in printed
    result = LedgerAudit.model_validate_json(out.read_text("utf-8"))
    assert result.passed
    assert [one.site for one in result.ledgers] == ["site-0", "site-1", "site-2"]


def test_a_fault_is_exit_code_1_and_a_sentence_that_locates_it(
    make_ledger: MakeLedger, written: Written, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = make_ledger().lines()
    lines[3] = lines[3].replace('"of":2', '"of":1')
    out = tmp_path / "audit.json"

    code = audit("ledger", written(lines), "--json", out)

    printed = capsys.readouterr().out
    assert code == 1
    assert "The books are NOT in order" in printed
    assert "line 4 (entry 3): is not what the site signed: byte" in printed
    assert "in 'of', is '1' and was '2'" in printed
    assert not LedgerAudit.model_validate_json(out.read_text("utf-8")).passed


def test_files_that_are_no_ledgers_are_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, folder = tmp_path / "empty.jsonl", tmp_path / "folder"
    empty.write_text("")
    folder.mkdir()

    for wrong, told in (
        (tmp_path / "none.jsonl", "cannot be read"),
        (empty, "holds no entry"),
        (folder, "is a folder without books"),
    ):
        assert audit("ledger", wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {wrong}: {told}")
        assert error.count("\n") == 1


def test_what_would_be_waited_for_or_is_no_text_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe, noise = tmp_path / "pipe", tmp_path / "noise"
    os.mkfifo(pipe)
    noise.write_bytes(bytes(range(256)) * 1000)

    for wrong, told in (
        (pipe, "is no file"),
        (Path("/dev/zero"), "is no file"),
        (noise, "holds no entry"),
    ):
        assert audit("ledger", wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {wrong}: {told}")
        assert error.count("\n") == 1


def test_a_result_goes_into_a_new_folder_and_not_in_place_of_one(
    make_ledger: MakeLedger, written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = written(make_ledger().lines())

    assert audit("ledger", export, "--json", tmp_path / "new" / "audit.json") == 0
    assert (tmp_path / "new" / "audit.json").is_file()
    capsys.readouterr()
    assert audit("ledger", export, "--json", tmp_path / "new") == 2
    assert "cannot be written (is a folder)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--roster", "--log", "--study"])
def test_an_option_that_names_no_such_file_is_a_sentence(
    make_ledger: MakeLedger,
    written: Written,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"some": "thing"}))
    export = written(make_ledger().lines())

    if option != "--log":
        assert audit("ledger", export, option, wrong) == 2
        assert "wrong.json" in capsys.readouterr().err
    assert audit("ledger", export, option, tmp_path / "missing.json") == 2
    error = capsys.readouterr().err
    assert "missing.json" in error
    assert error.count("\n") == 1


def test_a_federation_key_that_is_none_is_a_sentence(
    make_ledger: MakeLedger, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit("ledger", written(make_ledger().lines()), "--federation-key", "ab") == 2
    assert "64 hex digits" in capsys.readouterr().err


def test_text_of_a_ledger_does_not_steer_the_terminal(
    make_ledger: MakeLedger, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(make_ledger().lines())
    strange = path.with_name("\x1b[31m[bold]north.jsonl")
    path.rename(strange)

    audit("ledger", strange)

    assert "\x1b[31m" not in capsys.readouterr().out


def test_a_plan_that_fits_no_budget_is_exit_code_1(
    make_ledger: MakeLedger,
    written: Written,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    ledger, out = make_ledger(None), tmp_path / "cost.json"
    ledger.open()
    ledger.declare(epsilon_cap=0.5)

    assert audit("plan", "breast_cancer", "--sites", "4") == 0
    assert "1.0000" in capsys.readouterr().out
    code = audit(
        "plan", "breast_cancer", "--sites", "4", "--ledger", written(ledger.lines()), "--json", out
    )

    assert code == 1
    assert "A budget does NOT suffice." in capsys.readouterr().out
    assert not PlanCost.model_validate_json(out.read_text("utf-8")).fits


def test_steps_that_cost_more_than_was_claimed_are_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "steps.json"

    assert audit("steps", "flamby_heart_disease", "--json", out) == 1

    printed = capsys.readouterr().out
    assert all(number in printed for number in ("1.4671", "1.5964", "4.2122", "2.3341"))
    assert printed.count("FAILS") == 4
    assert len(StepsAudit.model_validate_json(out.read_text("utf-8")).sites) == 4
