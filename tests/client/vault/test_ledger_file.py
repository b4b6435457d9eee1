from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.client.vault import ledger_file
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.ledger_file import (
    is_database,
    raw_of_file,
    read_ledger_file,
    signed_entries,
)
from fedward.client.vault.verified_ledger import export_of_file
from fedward.common.errors import InputError
from fedward.common.ledger.export import raw_of_export, read_export, signed_entry_of

OpenLedger = Callable[..., DurableLedger]


def test_a_ledger_is_read_while_its_vault_runs(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    for number in range(3):
        position = ledger.reserve(replace(release, round=number))
        rows = read_ledger_file(ledger_path)
        assert [row.sequence for row in rows] == list(range(number + 2))
        assert signed_entries(ledger_path)[-1].digest == position.digest
    ledger.commit(release.place, release_digest="2" * 64)
    assert len(read_ledger_file(ledger_path)) == 5


def test_a_transaction_that_has_not_ended_is_not_read(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger, seen = open_ledger(), list[int]()
    ledger.reserve(release, check=lambda _: seen.append(len(read_ledger_file(ledger_path))))
    ledger.reserve(
        replace(release, round=2), check=lambda _: seen.append(len(read_ledger_file(ledger_path)))
    )
    assert seen == [1, 2]


def test_reading_changes_nothing_and_needs_no_right_to(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.close()
    content, files = ledger_path.read_bytes(), sorted(ledger_path.parent.iterdir())
    ledger_path.chmod(0o400)

    assert len(read_ledger_file(ledger_path)) == 2
    assert ledger_path.read_bytes() == content
    assert sorted(ledger_path.parent.iterdir()) == files
    assert stat.S_IMODE(ledger_path.stat().st_mode) == 0o400


def test_a_link_leads_to_the_latest_entries_too(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry, tmp_path: Path
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link.sqlite"
    link.symlink_to(ledger_path)

    assert read_ledger_file(link) == read_ledger_file(ledger_path)
    assert len(read_ledger_file(link)) == 2


def test_raw_lines_are_those_of_the_export(
    open_ledger: OpenLedger,
    ledger_path: Path,
    federation: Any,
    release: LedgerEntry,
    tmp_path: Path,
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.abandon(release.place, reason='"Üb\\er"\n\u2028')
    identity = federation.identities["site-0"]
    lines = list(export_of_file(ledger_path, site="site-0", identity=identity))
    export = tmp_path / "ledger.jsonl"
    export.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    raw = raw_of_file(ledger_path)
    assert raw.source == str(ledger_path)
    assert raw.head_line is None
    assert raw.lines == raw_of_export(export).lines
    entries, head = read_export(export)
    assert entries == signed_entries(ledger_path)
    assert head == ledger.head()
    assert ledger.holds(head)


def test_a_database_is_told_from_an_export(
    open_ledger: OpenLedger, ledger_path: Path, tmp_path: Path
) -> None:
    ledger = open_ledger()
    ledger.close()
    export = tmp_path / "ledger.jsonl"
    export.write_text("{}\n")

    assert is_database(ledger_path)
    assert not is_database(export)
    assert not is_database(tmp_path)
    assert not is_database(tmp_path / "missing")


def spoil(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


UNUSABLE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("is not there", lambda path: path.unlink()),
    "a folder": ("is no file", lambda path: (path.unlink(), path.mkdir())),
    "no database": ("cannot be read", lambda path: path.write_bytes(b"no database " * 1000)),
    "empty": ("is no ledger", lambda path: os.truncate(path, 0)),
    "cut off": ("cannot be read", lambda path: os.truncate(path, 5000)),
    "another application's": ("is no ledger", lambda path: spoil(path, "PRAGMA application_id=7")),
    "an earlier format": (
        "is a ledger of format 1, not 2",
        lambda path: spoil(path, "PRAGMA user_version=1"),
    ),
    "no table": ("cannot be read", lambda path: spoil(path, "DROP TABLE entries")),
    "a blob": (
        "entry 1 is no text of an entry",
        lambda path: spoil(path, "UPDATE entries SET body = x'00' WHERE sequence = 1"),
    ),
    "a signature that is a number": (
        "entry 1 is no text of an entry",
        lambda path: spoil(path, "UPDATE entries SET signature = x'07' WHERE sequence = 1"),
    ),
    "an entry that is too long": (
        "entry 1 is no text of an entry",
        lambda path: spoil(path, "UPDATE entries SET body = hex(zeroblob(33000)) WHERE sequence=1"),
    ),
}


@pytest.mark.parametrize(("problem", "change"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_cannot_be_a_ledger_is_a_clear_error(
    open_ledger: OpenLedger,
    ledger_path: Path,
    release: LedgerEntry,
    problem: str,
    change: Callable[[Path], object],
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.close()
    change(ledger_path)

    with pytest.raises(InputError, match=problem) as caught:
        read_ledger_file(ledger_path)
    assert str(caught.value).startswith(f"{ledger_path}: ")
    assert "\n" not in str(caught.value)


def test_more_entries_than_a_ledger_may_have_are_not_read(
    open_ledger: OpenLedger, ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ledger()
    monkeypatch.setattr(ledger_file, "MOST_ENTRIES", 1)
    assert len(read_ledger_file(ledger_path)) == 1
    monkeypatch.setattr(ledger_file, "MOST_ENTRIES", 0)
    with pytest.raises(InputError, match="has more than 0 entries"):
        read_ledger_file(ledger_path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = replace(body, 'study', 'stu y') WHERE sequence = 1",
        "UPDATE entries SET body = CAST(x'ff' || body AS TEXT) WHERE sequence = 1",
        "UPDATE entries SET body = '}' || body WHERE sequence = 1",
        "UPDATE entries SET signature = replace(signature, 'a', 'A') WHERE sequence = 1",
        """UPDATE entries SET signature = signature || '","x":"' WHERE sequence = 1""",
    ],
)
def test_a_damaged_entry_is_raw_text_still_and_named(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry, statement: str
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.close()
    intact = raw_of_file(ledger_path).lines
    spoil(ledger_path, statement)

    raw = raw_of_file(ledger_path)
    assert raw.lines[0] == intact[0]
    with pytest.raises(ValueError, match=r".+"):
        signed_entry_of(raw.lines[1])
    with pytest.raises(InputError, match=r"entry 1 is no entry \("):
        signed_entries(ledger_path)


def test_a_log_that_nobody_may_read_is_told_with_what_to_do(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    log = Path(f"{ledger_path}-wal")
    content = log.read_bytes()
    log.unlink()
    log.mkdir()

    with pytest.raises(InputError, match=r"cannot be read \(.+\); .*-wal") as caught:
        read_ledger_file(ledger_path)
    assert "name the file of" not in str(caught.value)
    log.rmdir()
    log.write_bytes(content)
