"""The ledger that is measured is a whole one, and one that does not pass is never a figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ledger_verification import ENTRIES, LedgerTask, Row, audit, findings_of, write_ledger


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> LedgerTask:
    path = tmp_path_factory.mktemp("ledger") / "small.jsonl"
    task = LedgerTask(path=str(path), entries=40, studies=3, sampled=True)
    write_ledger(task)
    return task


def test_the_measured_ledger_passes_and_holds_as_many_entries_as_it_says(task: LedgerTask) -> None:
    result = audit(task.path)

    assert (result.failed, result.entries) == ((), task.entries)
    assert 0 < result.reading < result.whole


def test_a_changed_ledger_is_no_figure(task: LedgerTask, tmp_path: Path) -> None:
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(Path(task.path).read_bytes().replace(b'"attempt":1', b'"attempt":2', 1))
    result = audit(str(changed))

    assert "signatures" in result.failed
    with pytest.raises(RuntimeError, match="did not pass"):
        findings_of([Row(task=task, audits=(result,), megabytes=1.0)])


def test_only_large_ledgers_have_a_target(task: LedgerTask) -> None:
    result = audit(task.path)
    large = replace(result, entries=ENTRIES, whole=4.0)
    rows = [
        Row(task=task, audits=(result,), megabytes=1.0),
        Row(task=replace(task, entries=ENTRIES), audits=(large, large), megabytes=8.0),
    ]

    (target,) = findings_of(rows).targets

    assert target.value == 4.0
    assert target.met
