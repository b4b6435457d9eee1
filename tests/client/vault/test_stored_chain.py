from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.client.vault import ledger_database
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import AlreadyReservedError, LedgerEntry, LedgerUnavailable
from fedward.client.vault.ledger_limits import APPLICATION
from fedward.common.errors import InputError
from fedward.common.ledger.chain import canonical, entry_of, signed
from fedward.common.ledger.entries import LEDGER_FORMAT
from fedward.common.secure_sum.signatures import SiteIdentity

OpenLedger = Callable[..., DurableLedger]
PATIENTS = CohortBudget(name="patients", delta=1e-5, epsilon_cap=5.0)


def spoil(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            sql, values = statement if isinstance(statement, tuple) else (statement, ())
            connection.execute(sql, values)
        connection.commit()


def test_the_file_is_the_sites_alone(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger_path.touch(mode=0o644)
    open_ledger().reserve(release)

    files = list(ledger_path.parent.iterdir())
    assert ledger_path in files
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_every_entry_is_forced_to_the_disk(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    with ledger._chain.transaction() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous")
        ]

    assert found == ["wal", 2]  # 2 is FULL


def test_a_ledger_says_what_it_is(open_ledger: OpenLedger, ledger_path: Path) -> None:
    open_ledger().close()
    with closing(sqlite3.connect(ledger_path)) as connection:
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        ]

    assert found == [APPLICATION, LEDGER_FORMAT]


def test_a_closed_ledger_is_of_no_use(open_ledger: OpenLedger, release: LedgerEntry) -> None:
    ledger = open_ledger()
    ledger.close()
    ledger.close()

    with pytest.raises(LedgerUnavailable, match="was closed"):
        ledger.reserve(release)
    with pytest.raises(LedgerUnavailable, match="was closed"):
        ledger.entries()
    assert open_ledger().entries() == ()


# Two that would write


OPEN = """
import json, sys
from dataclasses import replace
from pathlib import Path
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity

given = json.loads(sys.stdin.read())
try:
    ledger = DurableLedger(
        Path(given["path"]),
        site="site-0",
        identity=SiteIdentity.from_private_bytes(bytes.fromhex(given["identity"])),
    )
except InputError as error:
    sys.exit(str(error))
entry = replace(ledger.entries()[0], round=2, release_digest=None)
ledger.reserve(entry, check=lambda charged: print(*charged.of_study("0" * 64).values()))
"""


@pytest.fixture
def in_another_process(
    federation: Any, ledger_path: Path
) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Open the ledger elsewhere, reserve the next round, and print what was charged before."""

    def ran() -> subprocess.CompletedProcess[str]:
        identity = federation.identities["site-0"].private_bytes().hex()
        return subprocess.run(
            [sys.executable, "-c", OPEN],
            input=json.dumps({"path": str(ledger_path), "identity": identity}),
            capture_output=True,
            text=True,
            check=False,
        )

    return ran


def test_two_vaults_do_not_share_a_ledger(
    open_ledger: OpenLedger,
    release: LedgerEntry,
    in_another_process: Callable[[], subprocess.CompletedProcess[str]],
) -> None:
    # Either would check the budget without the other's latest entry.
    first = open_ledger()
    with pytest.raises(InputError, match="vault that still runs"):
        open_ledger()
    other = in_another_process()
    assert "vault that still runs" in other.stderr
    assert "Traceback" not in other.stderr
    assert other.returncode != 0

    first.reserve(release)
    first.close()
    assert open_ledger().entries() == (release,)


def test_a_link_to_the_file_leads_to_the_same_lock(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    link, folder = tmp_path / "folder" / "link.sqlite", tmp_path / "other"
    link.symlink_to(ledger_path)
    folder.symlink_to(tmp_path, target_is_directory=True)
    first = open_ledger()
    first.reserve(release)

    for name in (link, folder / ledger_path.name):
        with pytest.raises(InputError, match="vault that still runs"):
            open_ledger(name)
    first.close()
    assert open_ledger(link).entries() == (release,)
    # Nothing of the ledger lies beside the link.
    assert list(link.parent.iterdir()) == [link]


@pytest.fixture
def two(open_ledger: OpenLedger, ledger_path: Path) -> tuple[DurableLedger, DurableLedger]:
    """Two ledgers on one file, which only a lock that somebody removed lets happen."""
    first = open_ledger()
    Path(f"{ledger_path}.lock").unlink()
    return first, open_ledger()


def test_what_another_reserved_is_seen_whatever_the_locks(
    two: tuple[DurableLedger, DurableLedger], release: LedgerEntry
) -> None:
    seen: list[Any] = []

    def note(charged: Any) -> None:
        seen.append(charged.of_study(release.study_digest))

    for number, ledger in enumerate((*two, *two)):
        position = ledger.reserve(replace(release, round=number), check=note)
        assert position.sequence == number + 1

    assert seen == [{}, *({release.charge: number} for number in (1, 2, 3))]
    for ledger in two:
        assert ledger.charged().of_study(release.study_digest) == {release.charge: 4}
        assert ledger.answered(("run", 3, 1))
        for number in range(4):
            with pytest.raises(AlreadyReservedError):
                ledger.reserve(replace(release, round=number), check=note)
    assert len(seen) == 4
    assert two[0].head() == two[1].head()


def test_what_another_process_reserved_is_seen_whatever_the_locks(
    open_ledger: OpenLedger,
    ledger_path: Path,
    release: LedgerEntry,
    in_another_process: Callable[[], subprocess.CompletedProcess[str]],
) -> None:
    first = open_ledger()
    first.reserve(release)
    Path(f"{ledger_path}.lock").unlink()
    assert in_another_process().stdout == "1\n"

    seen: list[Any] = []
    first.reserve(
        replace(release, round=3),
        check=lambda charged: seen.append(charged.of_study(release.study_digest)),
    )
    assert seen == [{release.charge: 2}]


# A file that is not what it was


def test_a_file_with_a_second_name_is_refused(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry, tmp_path: Path
) -> None:
    first, second = open_ledger(), tmp_path / "second.sqlite"
    first.reserve(release)
    second.hardlink_to(ledger_path)

    with pytest.raises(InputError, match="second name"):
        open_ledger(second)
    with pytest.raises(LedgerUnavailable, match="second name"):
        first.reserve(replace(release, round=2))
    second.unlink()
    first.reserve(replace(release, round=3))
    assert [entry.round for entry in first.entries()] == [1, 3]


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


CHANGED_BENEATH: dict[str, tuple[str, Callable[[Path], object]]] = {
    "moved": ("cannot be opened", lambda path: path.rename(path.with_suffix(".moved"))),
    "replaced": ("is not the file that was opened", replaced),
    "cut off": ("was cut off", lambda path: os.truncate(path, 4096)),
    "emptied": ("was cut off", lambda path: os.truncate(path, 0)),
    "its log removed": (
        "cannot be opened",
        lambda path: path.with_name(path.name + "-wal").unlink(),
    ),
    "its log replaced": ("lost its log", lambda path: replaced(Path(f"{path}-wal"))),
}


@pytest.mark.parametrize(("problem", "change"), CHANGED_BENEATH.values(), ids=CHANGED_BENEATH)
def test_a_file_that_was_changed_beneath_a_vault_is_written_no_more(
    open_ledger: OpenLedger,
    ledger_path: Path,
    release: LedgerEntry,
    problem: str,
    change: Callable[[Path], object],
) -> None:
    open_ledger().close()  # so that something is in the file, and not in its log alone
    ledger = open_ledger()
    ledger.reserve(release)
    change(ledger_path)

    with pytest.raises(LedgerUnavailable, match=problem):
        ledger.reserve(replace(release, round=2))
    with pytest.raises(LedgerUnavailable, match=problem):
        ledger.commit(release.place, release_digest="2" * 64)


def test_an_older_copy_over_the_file_of_a_running_vault_is_noticed(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    open_ledger().close()
    ledger = open_ledger()
    for number in (1, 2):
        ledger.reserve(replace(release, round=number))
    spoil(
        ledger_path,
        "DELETE FROM entries WHERE sequence = 2",
        "DELETE FROM places WHERE sequence = 2",
    )

    with pytest.raises(LedgerUnavailable, match="entry 2 is not the one that was written there"):
        ledger.reserve(replace(release, round=3))


def test_an_unsound_entry_of_another_stops_the_next_reservation(
    ledger_path: Path, two: tuple[DurableLedger, DurableLedger], release: LedgerEntry
) -> None:
    first, second = two
    second.reserve(release)
    spoil(ledger_path, "UPDATE entries SET signature = hex(zeroblob(64)) WHERE sequence = 1")

    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="entry 1 is not signed by this site"):
            first.reserve(replace(release, round=2))


# A file that lost its latest entries


def lost_log(path: Path, ledger: DurableLedger) -> None:
    """The machine dies, and what lay in the log alone is gone."""
    kept = path.read_bytes()
    ledger.close()
    path.write_bytes(kept)


def older_copy(path: Path, ledger: DurableLedger) -> None:
    ledger.close()
    path.with_suffix(".backup").replace(path)


LOST: dict[str, Callable[[Path, DurableLedger], None]] = {
    "the log": lost_log,
    "an older copy": older_copy,
}
WRITTEN: dict[str, Callable[[DurableLedger, LedgerEntry], object]] = {
    "a reservation": lambda ledger, entry: ledger.reserve(replace(entry, round=2)),
    "a commitment": lambda ledger, entry: ledger.commit(entry.place, release_digest="2" * 64),
    "a given up release": lambda ledger, entry: ledger.abandon(entry.place, reason="failed"),
    "a raised budget": lambda ledger, _: ledger.raise_budget(
        "patients", epsilon_cap=9.0, epsilon_alone_cap=None, reason="more"
    ),
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_entries_that_were_lost_are_noticed_by_the_site_itself(
    open_ledger: OpenLedger,
    ledger_path: Path,
    release: LedgerEntry,
    write: Callable[[DurableLedger, LedgerEntry], object],
    lose: Callable[[Path, DurableLedger], None],
) -> None:
    first = open_ledger(cohorts=[PATIENTS])
    first.reserve(release)
    first.close()
    shutil.copy(ledger_path, ledger_path.with_suffix(".backup"))
    ledger = open_ledger()
    write(ledger, release)
    lose(ledger_path, ledger)

    with pytest.raises(LedgerUnavailable, match="lacks entry 3, which was written before") as found:
        open_ledger(cohorts=[PATIENTS])
    assert "\n" not in str(found.value)


def test_a_declaration_that_was_lost_is_noticed(open_ledger: OpenLedger, ledger_path: Path) -> None:
    open_ledger().close()
    ledger = open_ledger(cohorts=[replace(PATIENTS, epsilon_cap=0.0)])
    lost_log(ledger_path, ledger)

    with pytest.raises(LedgerUnavailable, match="lacks entry 1, which was written before"):
        open_ledger(cohorts=[PATIENTS])


def test_a_copy_that_went_on_by_itself_is_noticed_whatever_its_length(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry, tmp_path: Path
) -> None:
    open_ledger().close()
    copy = tmp_path / "copy.sqlite"
    shutil.copy(ledger_path, copy)
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.close()
    other = open_ledger(copy)
    for number in (7, 8, 9):
        other.reserve(replace(release, round=number))
    other.close()
    copy.replace(ledger_path)

    with pytest.raises(LedgerUnavailable, match="lacks entry 1, which was written before"):
        open_ledger()


def test_an_entry_that_was_not_yet_witnessed_is_no_fault(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    # As after a crash between the entry and the witness.
    lock = Path(f"{ledger_path}.lock")
    ledger = open_ledger()
    ledger.reserve(release)
    before = lock.read_bytes()
    ledger.commit(release.place, release_digest="2" * 64)
    ledger.close()
    assert lock.read_bytes() != before
    lock.write_bytes(before)

    again = open_ledger()
    assert again.entries() == (replace(release, release_digest="2" * 64),)
    again.close()
    # It is from now on.
    assert b"%016d" % 2 in lock.read_bytes()


def test_a_witness_that_cannot_be_read_stops_the_ledger(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.close()
    Path(f"{ledger_path}.lock").write_bytes(b"x" * 5000)

    with pytest.raises(LedgerUnavailable, match=r"\.lock file .*damaged"):
        open_ledger()


def test_a_witness_that_was_torn_at_the_very_start_stops_nothing(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    open_ledger().close()
    lock = Path(f"{ledger_path}.lock")
    lock.write_bytes(lock.read_bytes()[:50])

    open_ledger().reserve(release)
    assert b"%016d" % 1 in lock.read_bytes()


def test_a_ledger_is_no_folder(open_ledger: OpenLedger, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)

    with pytest.raises(LedgerUnavailable, match="cannot be opened \\(it is no file\\)"):
        open_ledger(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert list(tmp_path.iterdir()) == [folder]


def test_a_lock_that_is_no_file_is_a_clear_error(
    open_ledger: OpenLedger, ledger_path: Path
) -> None:
    os.mkfifo(f"{ledger_path}.lock")

    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        open_ledger()


def test_an_entry_that_could_not_be_read_again_is_not_written(
    open_ledger: OpenLedger, ledger_path: Path
) -> None:
    names = [f"{number:064}" for number in range(1100)]
    many = [replace(PATIENTS, name=name) for name in names]
    open_ledger(cohorts=many).close()
    every = replace(PATIENTS, shares_patients_with=tuple(names))

    with pytest.raises(LedgerUnavailable, match="would have an entry of more than 65,536 bytes"):
        open_ledger(cohorts=[*many, every])
    open_ledger(cohorts=many)


# A file that is no sound ledger


def rewritten(path: Path, sequence: int, key: SiteIdentity, **change: Any) -> None:
    """Change an entry, and sign it again."""
    with closing(sqlite3.connect(path)) as connection:
        (body,) = connection.execute(
            "SELECT body FROM entries WHERE sequence = ?", (sequence,)
        ).fetchone()
    entry = entry_of(canonical(json.loads(body) | change))
    spoil(
        path,
        (
            "UPDATE entries SET body = ?, signature = ? WHERE sequence = ?",
            (canonical(entry), signed(entry, key).signature, sequence),
        ),
    )


Change = Callable[[Path, SiteIdentity], object]
UNSOUND: dict[str, tuple[str, Change]] = {
    "no database": ("cannot be used", lambda path, _: path.write_bytes(b"no database " * 1000)),
    "another database": (
        "is no ledger",
        lambda path, _: (path.unlink(), spoil(path, "CREATE TABLE entries (number)")),
    ),
    "another application's": (
        "is no ledger",
        lambda path, _: spoil(path, "PRAGMA application_id=7"),
    ),
    "an earlier format": (
        "is a ledger of format 1, not 2",
        lambda path, _: spoil(path, "PRAGMA user_version=1"),
    ),
    "emptied": (
        "is empty, but the ledger [0-9a-f]{32} was here",
        lambda path, _: os.truncate(path, 0),
    ),
    "removed": ("is empty, but the ledger [0-9a-f]{32} was here", lambda path, _: path.unlink()),
    "cut off": (
        "is damaged|cannot be used",
        lambda path, _: os.truncate(path, path.stat().st_size - 4096),
    ),
    "a torn page": (
        "is damaged|cannot be used",
        lambda path, _: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 12288),
    ),
    "no table": ("cannot be used", lambda path, _: spoil(path, "DROP TABLE entries")),
    "no entry left": (
        "is not the ledger that was here",
        lambda path, _: spoil(path, "DELETE FROM entries"),
    ),
    "the last entry removed": (
        "has an index that its entries contradict",
        lambda path, _: spoil(path, "DELETE FROM entries WHERE sequence = 3"),
    ),
    "an entry removed": (
        "entry 2 is missing: entry 3 follows",
        lambda path, _: spoil(path, "DELETE FROM entries WHERE sequence = 2"),
    ),
    "two entries swapped": (
        "entry 1 is missing: entry 2 follows in row 1",
        lambda path, _: spoil(
            path,
            "UPDATE entries SET sequence = 9 WHERE sequence = 1",
            "UPDATE entries SET sequence = 1 WHERE sequence = 2",
            "UPDATE entries SET sequence = 2 WHERE sequence = 9",
        ),
    ),
    "an index that forgets": (
        "has an index that its entries contradict",
        lambda path, _: spoil(path, "DELETE FROM places WHERE round = 1"),
    ),
    "an index of another place": (
        "has an index that its entries contradict",
        lambda path, _: spoil(path, "UPDATE places SET attempt = 7 WHERE round = 1"),
    ),
    "one letter of an entry": (
        "entry 1 is not signed by this site's identity",
        lambda path, _: spoil(
            path, "UPDATE entries SET body = replace(body, '\"study\"', '\"stucy\"')"
        ),
    ),
    "an entry in another form": (
        "entry 1 not in the canonical form",
        lambda path, _: spoil(
            path, "UPDATE entries SET body = replace(body, ',', ', ') WHERE sequence = 1"
        ),
    ),
    "an entry that is none": (
        "entry 2 Unable to extract tag",
        lambda path, _: spoil(path, "UPDATE entries SET body = '{}' WHERE sequence = 2"),
    ),
    "bytes that are no text": (
        "entry 2 .*can't decode",
        lambda path, _: spoil(
            path, "UPDATE entries SET body = CAST(x'ff22' AS TEXT) WHERE sequence = 2"
        ),
    ),
    "a blob": (
        "entry 2 is no text of an entry",
        lambda path, _: spoil(path, "UPDATE entries SET body = x'00' WHERE sequence = 2"),
    ),
    "an entry of a gigabyte, nearly": (
        "entry 2 is no text of an entry",
        lambda path, _: spoil(
            path, "UPDATE entries SET body = hex(zeroblob(4000000)) WHERE sequence = 2"
        ),
    ),
    "a signature by another key": (
        "entry 1 is not signed by this site's identity",
        lambda path, _: rewritten(path, 1, SiteIdentity.generate()),
    ),
    "an entry changed and signed again": (
        "entry 2 does not follow the entry before it",
        lambda path, key: rewritten(path, 1, key, query_digest="7" * 64),
    ),
    "an entry dated back": (
        "entry 3 is dated before the entry ahead of it",
        lambda path, key: rewritten(path, 3, key, time="1999-01-01T00:00:00Z"),
    ),
    "a place reserved again": (
        r"entry 3 reserves \('run', 1, 1\) again",
        lambda path, key: rewritten(path, 3, key, round=1),
    ),
    "a commitment to nothing": (
        "entry 2 closes entry 0, which is no open reservation",
        lambda path, key: rewritten(path, 2, key, of=0),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("problem", "change"), UNSOUND.values(), ids=UNSOUND)
def test_a_file_that_is_no_sound_ledger_is_refused(
    open_ledger: OpenLedger,
    ledger_path: Path,
    federation: Any,
    release: LedgerEntry,
    problem: str,
    change: Change,
) -> None:
    ledger = open_ledger()
    ledger.reserve(release)
    ledger.commit(release.place, release_digest="2" * 64)
    ledger.reserve(replace(release, round=2))
    ledger.close()
    change(ledger_path, federation.identities["site-0"])

    with pytest.raises(InputError, match=problem) as caught:
        open_ledger()
    assert str(caught.value).startswith(f"{ledger_path}: ")
    assert "\n" not in str(caught.value)
    # It is not held by the one that could not be opened.
    with pytest.raises(InputError, match=problem):
        open_ledger()


def test_the_ledger_of_another_site_or_identity_is_refused(
    open_ledger: OpenLedger, federation: Any
) -> None:
    open_ledger().close()

    with pytest.raises(InputError, match="entry 0 opens the ledger of site-0, not of site-1"):
        open_ledger(site="site-1")
    with pytest.raises(InputError, match="entry 0 is not signed by this site's identity"):
        open_ledger(identity=federation.identities["site-1"])
    open_ledger()


def test_another_ledger_in_its_place_is_refused(
    open_ledger: OpenLedger, ledger_path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.sqlite"
    for path in (ledger_path, other):
        open_ledger(path).close()
    other.replace(ledger_path)

    with pytest.raises(InputError, match="is not the ledger that was here"):
        open_ledger()


def test_a_folder_that_is_not_there_is_a_clear_error(
    open_ledger: OpenLedger, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        open_ledger(tmp_path / "missing" / "ledger.sqlite")
    with pytest.raises(InputError, match="cannot be opened"):
        open_ledger(tmp_path)


# A file that cannot be written for now


def test_a_locked_file_is_a_clear_error_and_nothing_is_written(
    open_ledger: OpenLedger,
    ledger_path: Path,
    release: LedgerEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_database, "BUSY_SECONDS", 0.05)
    ledger = open_ledger()
    ledger.reserve(release)
    head = ledger.head()
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for call in (
            lambda: ledger.reserve(replace(release, round=2)),
            lambda: ledger.commit(release.place, release_digest="2" * 64),
            lambda: ledger.abandon(release.place, reason="the vault failed"),
            ledger.entries,
            ledger.charged,
            ledger.head,
        ):
            with pytest.raises(LedgerUnavailable, match=r"cannot be used \(database is locked\)"):
                call()
        other.execute("ROLLBACK")

    assert ledger.head() == head
    ledger.commit(release.place, release_digest="2" * 64)
    ledger.close()
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="database is locked"):
            open_ledger()
    open_ledger()


def test_a_full_database_is_a_clear_error_and_nothing_is_written(
    open_ledger: OpenLedger, ledger_path: Path, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    with ledger._chain.transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    def fill() -> None:
        for number in range(10_000):
            ledger.reserve(replace(release, round=number))

    with pytest.raises(LedgerUnavailable, match=r"cannot be used \(database or disk is full\)"):
        fill()
    written = len(ledger.entries())
    assert 0 < written < 10_000
    assert ledger.head().sequence == written
    assert not ledger.answered(("run", written, 1))

    # A full disk stops releases, and nothing else is lost by it.
    with ledger._chain.transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert ledger.reserve(replace(release, round=written)).sequence == written + 1
    ledger.close()
    assert len(open_ledger().entries()) == written + 1


def test_a_file_that_may_only_be_read_is_a_clear_error(
    open_ledger: OpenLedger, release: LedgerEntry
) -> None:
    ledger = open_ledger()
    with ledger._chain.transaction() as connection:
        driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA query_only = ON")

    with pytest.raises(LedgerUnavailable, match="attempt to write a readonly database"):
        ledger.reserve(release)
    driver.execute("PRAGMA query_only = OFF")
    assert ledger.entries() == ()
    ledger.reserve(release)
