from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.client.vault.durable_ledger import APPLICATION, FORMAT, DurableLedger
from fedward.client.vault.ledger import AlreadyReservedError, LedgerEntry
from fedward.client.vault.vault import Vault
from fedward.common.errors import InputError
from fedward.common.privacy.events import GaussianEvent
from fedward.common.protocol.queries import AnySumQuery, encode_query
from fedward.common.protocol.releases import Answer, Refusal, RefusalReason, SumRelease
from fedward.common.protocol.sealed import open_sealed
from fedward.common.study.definition import Study

MakeStudy = Callable[..., Study]
MakeQuery = Callable[..., AnySumQuery]

ENTRY = LedgerEntry(
    run_id="run",
    study_digest="0" * 64,
    query_digest="1" * 64,
    kind="training",
    round=1,
    attempt=1,
    event=GaussianEvent(noise_multiplier=2 / 3, sampling_rate=0.1, count=7),
    event_alone=GaussianEvent(noise_multiplier=1 / 3, sampling_rate=0.1, count=7),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a ledger?.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], DurableLedger]]:
    """Open the ledger at ``path``; all are closed at the end."""
    ledgers: list[DurableLedger] = []

    def make() -> DurableLedger:
        ledgers.append(DurableLedger(path))
        return ledgers[-1]

    yield make
    for ledger in ledgers:
        ledger.close()


def test_what_was_reserved_and_committed_is_there_after_a_restart(
    opened: Callable[[], DurableLedger],
) -> None:
    entries = [
        ENTRY,
        replace(ENTRY, round=2, kind="evaluation", event=None, event_alone=None),
        replace(ENTRY, round=3, event_alone=None),
    ]
    first = opened()
    for entry in entries:
        first.reserve(entry)
    first.commit(ENTRY.place, release_digest="2" * 64)
    charged = first.charged(ENTRY.study_digest)
    first.close()

    second = opened()
    assert second.entries() == (replace(ENTRY, release_digest="2" * 64), *entries[1:])
    assert second.charged(ENTRY.study_digest) == charged
    assert all(second.answered(entry.place) for entry in entries)
    assert not second.answered(("run", 4, 1))
    with pytest.raises(ValueError, match="already reserved"):
        second.reserve(ENTRY)


def test_the_file_is_the_sites_alone(path: Path, opened: Callable[[], DurableLedger]) -> None:
    path.touch(mode=0o644)
    opened().reserve(ENTRY)

    files = list(path.parent.iterdir())
    assert path in files
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_every_reservation_is_forced_to_the_disk(
    path: Path, opened: Callable[[], DurableLedger]
) -> None:
    ledger = opened()
    with ledger._engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous")
        ]

    assert found == ["wal", 2]  # 2 is FULL


def test_two_vaults_do_not_share_a_ledger(path: Path, opened: Callable[[], DurableLedger]) -> None:
    # Either would check the budget without the other's latest entry.
    first = opened()
    with pytest.raises(InputError, match="vault that still runs"):
        opened()
    script = f"from pathlib import Path\nfrom {DurableLedger.__module__} import DurableLedger\n"
    script += f"DurableLedger(Path({str(path)!r}))"
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "vault that still runs" in other.stderr
    assert other.returncode != 0

    first.reserve(ENTRY)
    first.close()
    assert opened().entries() == (ENTRY,)


def test_a_link_to_the_file_leads_to_the_same_lock(
    path: Path, opened: Callable[[], DurableLedger], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    link, folder = tmp_path / "folder" / "link.sqlite", tmp_path / "other"
    link.symlink_to(path)
    folder.symlink_to(tmp_path, target_is_directory=True)
    first = opened()
    first.reserve(ENTRY)

    for name in (link, folder / path.name):
        with pytest.raises(InputError, match="vault that still runs"):
            DurableLedger(name)
    first.close()
    second = DurableLedger(link)
    assert second.entries() == (ENTRY,)
    second.close()
    # Nothing of the ledger lies beside the link.
    assert list(link.parent.iterdir()) == [link]


def test_a_file_with_a_second_name_is_refused(
    path: Path, opened: Callable[[], DurableLedger], tmp_path: Path
) -> None:
    first, second = opened(), tmp_path / "second.sqlite"
    first.reserve(ENTRY)
    second.hardlink_to(path)

    with pytest.raises(InputError, match="second name"):
        DurableLedger(second)
    with pytest.raises(InputError, match="second name"):
        first.reserve(replace(ENTRY, round=2))
    second.unlink()
    first.reserve(replace(ENTRY, round=3))
    assert [entry.round for entry in first.entries()] == [1, 3]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_was_moved_is_written_no_more(
    path: Path, opened: Callable[[], DurableLedger], tmp_path: Path, replaced: bool
) -> None:
    first = opened()
    first.reserve(ENTRY)
    path.rename(tmp_path / "moved.sqlite")
    if replaced:
        path.touch()

    with pytest.raises(InputError, match=r"not the file|cannot be opened"):
        first.reserve(replace(ENTRY, round=2))


@pytest.fixture
def two(path: Path, opened: Callable[[], DurableLedger]) -> tuple[DurableLedger, DurableLedger]:
    """Two ledgers on one file, which only a lock that somebody removed lets happen."""
    first = opened()
    Path(f"{path}.lock").unlink()
    return first, opened()


def test_what_another_reserved_is_seen_whatever_the_locks(
    two: tuple[DurableLedger, DurableLedger],
) -> None:
    seen: list[Any] = []
    for number, ledger in enumerate((*two, *two)):
        ledger.reserve(replace(ENTRY, round=number), check=seen.append)

    assert seen == [{}, *({ENTRY.charge: number} for number in (1, 2, 3))]
    for ledger in two:
        assert ledger.charged(ENTRY.study_digest) == {ENTRY.charge: 4}
        assert ledger.answered(("run", 3, 1))
        for number in range(4):
            with pytest.raises(AlreadyReservedError):
                ledger.reserve(replace(ENTRY, round=number), check=seen.append)
    assert len(seen) == 4


def test_what_another_process_reserved_is_seen_whatever_the_locks(
    path: Path, opened: Callable[[], DurableLedger]
) -> None:
    first = opened()
    first.reserve(ENTRY)
    Path(f"{path}.lock").unlink()
    script = f"""
from dataclasses import replace
from pathlib import Path
from {DurableLedger.__module__} import DurableLedger
ledger = DurableLedger(Path({str(path)!r}))
entry = replace(ledger.entries()[0], round=2)
ledger.reserve(entry, check=lambda charged: print(*charged.values()))
"""
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert other.stdout == "1\n"

    seen: list[Any] = []
    first.reserve(replace(ENTRY, round=3), check=seen.append)
    assert seen == [{ENTRY.charge: 2}]


def test_two_vaults_spend_one_budget_once_whatever_the_locks(
    federation: Any,
    study: Study,
    make_vault: Callable[..., Vault],
    make_query: MakeQuery,
    ask: Callable[..., tuple[Answer, Any]],
    two: tuple[DurableLedger, DurableLedger],
) -> None:
    runs = ("run-a", "run-b")
    vaults = [make_vault(study, ledger=ledger, runs=runs) for ledger in two]
    answers = [
        ask(vault, study, make_query(study, run_id=run_id, round=number))[0]
        for number in range(1, study.training.rounds + 1)
        for vault, run_id in zip(vaults, runs, strict=True)
    ]

    released = sum(isinstance(answer, SumRelease) for answer in answers)
    refusals = [answer.reason for answer in answers if isinstance(answer, Refusal)]
    alone = make_vault(study, runs=runs)
    expected = [
        ask(alone, study, make_query(study, run_id=run_id, round=number))[0]
        for number in range(1, study.training.rounds + 1)
        for run_id in runs
    ]
    assert released == sum(isinstance(answer, SumRelease) for answer in expected)
    assert set(refusals) == {RefusalReason.BUDGET_EXCEEDED}


def test_an_unsound_entry_of_another_stops_the_next_reservation(
    path: Path, two: tuple[DurableLedger, DurableLedger]
) -> None:
    first, second = two
    second.reserve(ENTRY)
    spoil(path, "UPDATE entries SET event_noise='loud'")

    with pytest.raises(InputError, match="holds an entry that is none"):
        first.reserve(replace(ENTRY, round=2))


def spoil(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


UNUSABLE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no database": ("cannot be used", lambda path: path.write_bytes(b"no database " * 1000)),
    "another database": (
        "is no ledger",
        lambda path: (path.unlink(), spoil(path, "CREATE TABLE entries (number)")),
    ),
    "another application's": ("is no ledger", lambda path: spoil(path, "PRAGMA application_id=7")),
    "a later format": (
        f"format {FORMAT + 1}",
        lambda path: spoil(path, f"PRAGMA user_version={FORMAT + 1}"),
    ),
    "an unknown kind": (
        "holds an entry that is none",
        lambda path: spoil(path, "UPDATE entries SET kind='raw'"),
    ),
    "half an event": (
        "holds an entry that is none",
        lambda path: spoil(path, "UPDATE entries SET event_noise=NULL"),
    ),
    "words for noise": (
        "holds an entry that is none",
        lambda path: spoil(path, "UPDATE entries SET event_noise='loud'"),
    ),
    "noise below zero": (
        "holds an entry that is none",
        lambda path: spoil(path, "UPDATE entries SET alone_noise=-1"),
    ),
    "no entries": ("cannot be used", lambda path: spoil(path, "DROP TABLE entries")),
    "a torn page": (
        "is damaged|cannot be used",
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192),
    ),
}


@pytest.mark.parametrize(("problem", "change"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_is_no_sound_ledger_is_refused(
    path: Path,
    opened: Callable[[], DurableLedger],
    problem: str,
    change: Callable[[Path], object],
) -> None:
    ledger = opened()
    ledger.reserve(ENTRY)
    ledger.close()
    change(path)

    with pytest.raises(InputError, match=problem) as caught:
        opened()
    assert str(caught.value).startswith(f"{path}: ")
    # It is not held by the one that could not be opened.
    with pytest.raises(InputError, match=problem):
        opened()


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        DurableLedger(tmp_path / "missing" / "ledger.sqlite")
    with pytest.raises(InputError, match="cannot be opened"):
        DurableLedger(tmp_path)


def test_a_ledger_says_what_it_is(path: Path, opened: Callable[[], DurableLedger]) -> None:
    opened().close()
    connection = sqlite3.connect(path)
    found = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    ]
    connection.close()

    assert found == [APPLICATION, FORMAT]


VAULT = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
import fedward.client.vault.patient_sums as patient_sums
from fedward.client.cohort import Cohort
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import PlannedProtection
from fedward.client.vault.vault import Vault
from fedward.common.privacy.random_source import RandomSource
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study

given = json.loads(sys.stdin.readline())
study = Study.model_validate_json(given["study"])
if given["dies"]:
    def die(*_args, **_options):
        os.kill(os.getpid(), signal.SIGKILL)
    patient_sums.clipped_gradient_sum = die
vault = Vault(
    site="site-0",
    identity=SiteIdentity.from_private_bytes(bytes.fromhex(given["identity"])),
    cohort=Cohort.from_rows(
        features=np.zeros((5, 3)), target=np.array([0., 1, 0, 1, 1]), patients=np.arange(5)
    ),
    held_out=None,
    studies={study.digest: study},
    policy=SitePolicy(
        federation_key=bytes.fromhex(given["federation"]),
        known_keys={name: bytes.fromhex(key) for name, key in given["keys"].items()},
    ),
    ledger=DurableLedger(Path(given["ledger"])),
    protection=PlannedProtection(),
    randomness=RandomSource.from_os(),
)
for line in sys.stdin:
    print(vault.answer(bytes.fromhex(line)).hex(), flush=True)
"""
"""A vault in a process of its own: frames in, sealed answers out, a line each."""


class VaultProcess:
    """Talks to a vault in another process."""

    def __init__(self, federation: Any, study: Study, ledger: Path, *, dies: bool = False) -> None:
        self.federation, self.study = federation, study
        self.process = subprocess.Popen(
            [sys.executable, "-c", VAULT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        given = {
            "study": study.model_dump_json(),
            "dies": dies,
            "identity": federation.identities["site-0"].private_bytes().hex(),
            "federation": federation.key.public_key.hex(),
            "keys": {name: key.hex() for name, key in federation.keys.items()},
            "ledger": str(ledger),
        }
        self.write(json.dumps(given))

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, frame: bytes) -> Answer | None:
        """The answer, or None if the process died over it."""
        assert self.process.stdout is not None
        self.write(frame.hex())
        line = self.process.stdout.readline()
        if not line:
            return None
        sealed = open_sealed(bytes.fromhex(line))
        return sealed.answer_of(self.federation.keys["site-0"])[0]

    def offers(self, session: int = 1) -> tuple[Any, ...]:
        """Open a session, with two sites that this process plays."""
        query = self.federation.query_for_session(self.study, session=session)
        opened: Any = self.ask(encode_query(query, {}))
        others = (self.federation.desk(name) for name in ("site-1", "site-2"))
        return (opened.offer, *(desk.open(query, minimum_sites=2) for desk in others))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True], ids=["after its answer", "over its answer"])
def test_a_vault_that_is_killed_refuses_to_answer_again(
    federation: Any, study: Study, make_query: MakeQuery, path: Path, dies: bool
) -> None:
    arrays = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}
    first = VaultProcess(federation, study, path, dies=dies)
    try:
        query = make_query(study, offers=first.offers())
        answer = first.ask(encode_query(query, arrays))
    finally:
        first.kill()
    assert answer is None if dies else isinstance(answer, SumRelease)

    second = VaultProcess(federation, study, path)
    try:
        forgotten = second.ask(encode_query(query, arrays))
        offers = second.offers(session=2)
        same_place = make_query(study, session=2, offers=offers)
        again = second.ask(encode_query(same_place, arrays))
        next_attempt = make_query(study, session=2, attempt=2, offers=offers)
        later = second.ask(encode_query(next_attempt, arrays))
    finally:
        second.kill()

    # The session's keys were in memory, the answered places and what they cost on the disk.
    assert isinstance(forgotten, Refusal)
    assert forgotten.reason == RefusalReason.UNKNOWN_SESSION
    assert isinstance(again, Refusal)
    assert again.reason == RefusalReason.ALREADY_ANSWERED
    assert isinstance(later, SumRelease)
    ledger = DurableLedger(path)
    entries = ledger.entries()
    ledger.close()
    assert [entry.place for entry in entries] == [("run", 1, 1), ("run", 1, 2)]
    assert [entry.release_digest is None for entry in entries] == [dies, False]
