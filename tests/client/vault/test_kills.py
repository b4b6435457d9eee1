"""A ledger, and a vault over it, are killed at every step; what is on the disk must be enough.

One process imports everything once and forks a child for each step, which dies there by SIGKILL.
Steps are before and after every statement and commit that reaches SQLite, and the vault's own.
What a kill within SQLite's own writing leaves is a log that was cut off anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest

from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import AlreadyReservedError, LedgerUnavailable
from fedward.client.vault.ledger_file import signed_entries
from fedward.common.errors import InputError
from fedward.common.ledger.heads import LedgerHead
from fedward.common.study.definition import Study

OpenLedger = Callable[..., DurableLedger]
FRAME = 24 + 4096
"""Bytes of a page in SQLite's log."""
LOST = re.compile("lacks entry|is empty, but the ledger")

CHILDREN = """
import functools, importlib.util, json, os, resource, signal, sqlite3, sys
from dataclasses import replace
from pathlib import Path

from fedward.client.vault import owned_file
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry
from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead
from fedward.common.privacy.events import GaussianEvent
from fedward.common.secure_sum.signatures import SiteIdentity

given = json.loads(sys.stdin.read())
identity_of = SiteIdentity.from_private_bytes
identities = {name: identity_of(bytes.fromhex(key)) for name, key in given["identities"].items()}
federation_key = identity_of(bytes.fromhex(given["key"]))
noise = GaussianEvent(noise_multiplier=20.0)
entry = LedgerEntry(
    run_id="run", study_digest="0" * 64, study_name="study", query_digest="1" * 64,
    kind="training", round=1, attempt=1, sites=3, delta=1e-5, holdout=0.2, cohorts=("patients",),
    event=noise, event_alone=noise,
)
done, die_at, told = 0, 0, -1


def tell(*words):
    os.write(told, (" ".join(map(str, words)) + "\\n").encode())


def step(name):
    global done
    if done is None:
        return
    done += 1
    if done == die_at or name == given["die_at"]:
        tell("killed", name)
        os.kill(os.getpid(), signal.SIGKILL)


def around(name, call):
    @functools.wraps(call)
    def stepped(*args, **options):
        step(f"before {name}")
        result = call(*args, **options)
        if not name.startswith("PRAGMA"):  # which change nothing
            step(f"after {name}")
        return result

    return stepped


class Cursor(sqlite3.Cursor):
    def execute(self, sql, *values):
        return around(" ".join(sql.split("(")[0].split()), super().execute)(sql, *values)


class Connection(sqlite3.Connection):
    def cursor(self, factory=Cursor):
        return super().cursor(factory)

    def execute(self, sql, *values):
        return around(sql, super().execute)(sql, *values)

    def commit(self):
        around("COMMIT", super().commit)()

    def close(self):
        around("close", super().close)()


sqlite3.dbapi2.connect = functools.partial(sqlite3.connect, factory=Connection)
owned_file.OwnedFile.__init__ = around("__init__", owned_file.OwnedFile.__init__)
os.pwrite, os.fsync = around("pwrite", os.pwrite), around("fsync", os.fsync)  # of the witness


def ledger_at(folder):
    return DurableLedger(
        folder / "ledger.sqlite",
        site="site-0",
        identity=identities["site-0"],
        cohorts=[CohortBudget(name="patients", delta=1e-4, epsilon_cap=40.0)],
    )


def ledger_alone(folder):
    ledger = ledger_at(folder)
    for number in (1, 2):
        ledger.reserve(replace(entry, round=number))
        tell("read", number)
        step("records are read")
        if number == 1:
            ledger.commit(("run", 1, 1), release_digest="1" * 64)
            step("the bytes leave")
            tell("left", 1, "1" * 64)
        else:
            ledger.abandon(("run", 2, 1), reason="the vault failed")
    head = KnownHead.seen(ledger.head(), run_id="run", coordinator=federation_key)
    ledger.countersigned(head)
    ledger.strike_balance(entry.study_digest)
    ledger.raise_budget("patients", epsilon_cap=41.0, epsilon_alone_cap=None, reason="more")
    ledger.close()


def reading(call):
    @functools.wraps(call)
    def read(self, query, *args, **options):
        step("before the sum")
        tell("read", query.round)
        result = call(self, query, *args, **options)
        step("after the sum")
        return result

    return read


def vault_scenario():
    import numpy as np

    spec = importlib.util.spec_from_file_location("federation_of_tests", given["conftest"])
    tests = importlib.util.module_from_spec(spec)
    sys.modules["federation_of_tests"] = tests
    spec.loader.exec_module(tests)

    from fedward.client.cohort import Cohort
    from fedward.client.vault import vault as vault_module
    from fedward.client.vault.patient_sums import PatientSums
    from fedward.client.vault.protection import PlannedProtection, SumRules
    from fedward.client.vault.vault import Vault
    from fedward.common.privacy.random_source import RandomSource
    from fedward.common.protocol.queries import GradientSumQuery, encode_query
    from fedward.common.protocol.sealed import open_sealed
    from fedward.common.study.definition import Study

    # What the ledger commits is what sealed_answer gave beside the bytes.
    digests, seal = {}, vault_module.sealed_answer

    def sealing(*args, **options):
        step("before sealing")
        sealed, digest = seal(*args, **options)
        digests[bytes(sealed)] = digest
        step("after sealing")
        return sealed, digest

    vault_module.sealed_answer = sealing
    Vault._hide = around("the mask", Vault._hide)
    SumRules.add_noise = around("the noise", SumRules.add_noise)
    PatientSums.encoded = reading(PatientSums.encoded)
    federation = tests.Federation(key=federation_key, identities=identities)
    study = Study.model_validate_json(given["study"])
    cohort = Cohort.from_rows(
        features=np.zeros((5, 3)), target=np.array([0.0, 1, 0, 1, 1]), patients=np.arange(5)
    )
    arrays = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}

    def scenario(folder):
        desk = federation.desk("site-0")
        federation.join(desk, "site-0", study)
        vault = Vault(
            site="site-0",
            identity=identities["site-0"],
            cohort=cohort,
            held_out=None,
            studies={study.digest: study},
            policy=federation.policy(),
            ledger=ledger_at(folder),
            protection=PlannedProtection(),
            randomness=RandomSource.from_os(),
            sessions=desk,
        )
        for number in (1, 2):
            query = GradientSumQuery(
                run_id="run",
                study_digest=study.digest,
                session=1,
                roster=("site-0", "site-1", "site-2"),
                round=number,
                attempt=1,
            )
            sealed = vault.answer(encode_query(query, arrays))
            step("the bytes leave")
            answer, _ = open_sealed(sealed).answer_of(federation.keys["site-0"])
            if answer.kind == "refusal":
                tell("refused", number, answer.reason, answer.message)
            else:
                tell("left", number, digests[bytes(sealed)])

    return scenario


scenario = vault_scenario() if given["scenario"] == "vault" else ledger_alone
folders = Path(given["folder"])
# What the accountant computes is at hand in every child, and no thread of torch is forked.
(folders / "first").mkdir()
told = os.open(os.devnull, os.O_WRONLY)
done = None
scenario(folders / "first")


def child(number):
    global die_at, told, done
    folder = folders / str(number)
    folder.mkdir()
    told = os.open(folder / "told", os.O_WRONLY | os.O_CREAT)
    child = os.fork()
    if child:
        os.close(told)
        return os.waitpid(child, 0)[1]
    code = 1
    try:
        done = 0
        if given["sizes"] is None and given["die_at"] is None:
            die_at = number
        elif given["sizes"] is not None:
            most = given["sizes"][number - 1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        scenario(folder)
        code = 0
    except InputError as error:
        tell("refused", error)
        code = 3
    finally:
        os._exit(code)


number = 0
while True:
    number += 1
    status = child(number)
    print(status, flush=True)
    if status == 0 and given["sizes"] is None or number == given["most"]:
        break
"""


@dataclass(frozen=True)
class Outcome:
    """A child's end, and what it told before."""

    folder: Path
    status: int
    told: tuple[list[str], ...]

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.sqlite"

    @property
    def killed(self) -> str | None:
        """The step at which it was killed."""
        return next((" ".join(words[1:]) for words in self.told if words[0] == "killed"), None)

    @property
    def read(self) -> set[int]:
        """The rounds for which records were read."""
        return {int(words[1]) for words in self.told if words[0] == "read"}

    @property
    def left(self) -> dict[int, str]:
        """The digests of the releases that left, by round."""
        return {int(words[1]): words[2] for words in self.told if words[0] == "left"}

    @property
    def refused(self) -> list[str]:
        return [" ".join(words[1:]) for words in self.told if words[0] == "refused"]


RunChildren = Callable[..., list[Outcome]]


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: what a kill leaves does not depend on the disk."""
    shared = Path("/dev/shm")  # noqa: S108
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def run_children(federation: Any, study: Study, memory: Path) -> RunChildren:
    """Run a scenario in children: one killed at each step, or one for each largest file size.

    With ``die_at`` there is one child, which is killed at the first step of that name.
    """

    def ran(
        scenario: str, *, sizes: list[int] | None = None, die_at: str | None = None
    ) -> list[Outcome]:
        folder = Path(mkdtemp(dir=memory))
        given = {
            "conftest": str(Path(__file__).with_name("conftest.py")),
            "scenario": scenario,
            "sizes": sizes,
            "die_at": die_at,
            "most": 1 if die_at else len(sizes or ()),
            "folder": str(folder),
            "study": study.model_dump_json(),
            "key": federation.key.private_bytes().hex(),
            "identities": {
                name: identity.private_bytes().hex()
                for name, identity in federation.identities.items()
            },
        }
        finished = subprocess.run(
            [sys.executable, "-c", CHILDREN],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        assert finished.returncode == 0, finished.stderr
        outcomes = []
        for number, status in enumerate(finished.stdout.split(), start=1):
            told = (folder / str(number) / "told").read_text().splitlines()
            words = tuple(line.split(" ") for line in told)
            outcomes.append(Outcome(folder / str(number), int(status), words))
        return outcomes

    return ran


def check_books(outcome: Outcome, open_ledger: OpenLedger, federation: Any) -> None:
    """What was read is reserved, what left is committed, and nothing is answered again."""
    ledger = open_ledger(outcome.ledger)  # which verifies the chain
    rounds = {entry.round: entry.release_digest for entry in ledger.entries()}
    assert outcome.read <= set(rounds), outcome
    committed = {number: digest for number, digest in rounds.items() if digest is not None}
    assert outcome.left.items() <= committed.items(), outcome
    for entry in ledger.entries():
        with pytest.raises(AlreadyReservedError):
            ledger.reserve(replace(entry, release_digest=None))
    # It goes on where it was, and its file holds one chain under one key.
    before = len(signed_entries(outcome.ledger))
    cohorts = ledger.entries()[0].cohorts if rounds else None
    if cohorts:
        later = replace(ledger.entries()[0], round=99, release_digest=None)
        assert ledger.reserve(later).sequence == before
        ledger.commit(later.place, release_digest="9" * 64)
    key = federation.identities["site-0"].public_key
    found = signed_entries(outcome.ledger)
    assert all(signed.is_signed_by(key) for signed in found)
    assert [signed.entry.previous for signed in found[1:]] == [link.digest for link in found[:-1]]
    ledger.close()


def check_loss_is_noticed(outcome: Outcome, open_ledger: OpenLedger) -> None:
    """Without the end of its log, a ledger holds all that was read and left, or does not open."""
    path = outcome.ledger
    log = Path(f"{path}-wal")
    content = log.read_bytes() if log.exists() else b""
    for lost in {len(content), FRAME}:
        folder = outcome.folder / f"without {lost}"
        if lost > len(content) or folder.exists() or not path.exists():
            continue
        folder.mkdir()
        shutil.copy(path, folder)
        shutil.copy(f"{path}.lock", folder)
        (folder / log.name).write_bytes(content[: len(content) - lost])
        try:
            ledger = open_ledger(folder / path.name)
        except LedgerUnavailable:
            with pytest.raises(LedgerUnavailable, match=LOST):
                open_ledger(folder / path.name)
            continue
        rounds = {entry.round: entry.release_digest for entry in ledger.entries()}
        assert outcome.read <= set(rounds), outcome
        assert outcome.left.items() <= rounds.items(), outcome
        ledger.close()


@pytest.mark.slow
def test_a_ledger_that_is_killed_at_any_step_forgets_nothing(
    run_children: RunChildren, open_ledger: OpenLedger, federation: Any
) -> None:
    outcomes = run_children("ledger")

    *killed, whole = outcomes
    assert whole.status == 0
    assert {outcome.status for outcome in killed} == {signal.SIGKILL}
    steps = [outcome.killed for outcome in killed]
    assert sum(step == "before COMMIT" for step in steps) >= 10
    assert sum(step == "after COMMIT" for step in steps) >= 10
    assert {"before INSERT INTO entries", "after INSERT INTO entries", "before BEGIN IMMEDIATE",
            "before CREATE TABLE entries", "records are read", "the bytes leave",
            "before close"} <= set(steps)  # fmt: skip
    # The witness is written and forced to the disk for each entry.
    for step in ("before pwrite", "after pwrite", "before fsync", "after fsync"):
        assert steps.count(step) >= 9
    for outcome in outcomes:
        check_loss_is_noticed(outcome, open_ledger)
        check_books(outcome, open_ledger, federation)
    # A reservation is there from the end of its commitment on, whether or not records were read.
    reserved = [len(set(outcome.read)) for outcome in outcomes]
    assert (min(reserved), max(reserved)) == (0, 2)


@pytest.mark.slow
def test_a_vault_that_is_killed_at_any_step_leaves_nothing_uncharged(
    run_children: RunChildren, open_ledger: OpenLedger, federation: Any
) -> None:
    outcomes = run_children("vault")

    *killed, whole = outcomes
    assert (whole.status, whole.refused) == (0, [])
    assert {outcome.status for outcome in killed} == {signal.SIGKILL}
    steps = {str(outcome.killed) for outcome in killed}
    for name in ("the sum", "the noise", "the mask", "sealing", "COMMIT", "pwrite", "fsync"):
        assert {f"before {name}", f"after {name}"} <= steps
    assert "the bytes leave" in steps
    for outcome in outcomes:
        check_loss_is_noticed(outcome, open_ledger)
        check_books(outcome, open_ledger, federation)
    # A kill after the sum and before the commitment leaves a reservation, which stays spent.
    at_the_mask = [outcome for outcome in killed if outcome.killed == "after the mask"]
    for outcome in at_the_mask:
        ledger = open_ledger(outcome.ledger)
        last = [entry for entry in ledger.entries() if entry.round != 99][-1]
        assert last.round in outcome.read
        assert last.release_digest is None
        ledger.close()
    assert len(at_the_mask) == 2


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_size_lets_nothing_uncharged_leave(
    run_children: RunChildren, open_ledger: OpenLedger, federation: Any
) -> None:
    # Where a file may not grow further, as on a full disk, within and between SQLite's writes.
    sizes = [4096, 20_000, *range(32_768, 100_000, 4_001)]
    for scenario in ("ledger", "vault"):
        outcomes = run_children(scenario, sizes=sizes)
        stopped = [outcome for outcome in outcomes if outcome.refused]
        assert len(stopped) >= 5
        assert not outcomes[-1].refused
        assert outcomes[-1].status == 0
        for outcome in outcomes:
            assert outcome.status in (0, 3 << 8), outcome
            for sentence in outcome.refused:
                assert "cannot be used (" in sentence or "ledger_unavailable" in sentence
            if outcome.ledger.exists():
                check_books(outcome, open_ledger, federation)


@pytest.fixture(scope="module")
def killed(run_children: RunChildren) -> Outcome:
    """A child that was killed before it closed its ledger: everything is in the ledger's log."""
    (outcome,) = run_children("ledger", die_at="before close")
    return outcome


@pytest.mark.slow
def test_a_log_that_was_cut_off_or_torn_anywhere_leaves_a_sound_beginning(
    killed: Outcome, open_ledger: OpenLedger, memory: Path, federation: Any
) -> None:
    log = Path(f"{killed.ledger}-wal").read_bytes()
    assert len(log) > 15 * FRAME
    intact = signed_entries(killed.ledger)
    identity = federation.identities["site-0"]
    heads = [
        LedgerHead.sign(
            identity,
            site="site-0",
            ledger_id=intact[0].entry.ledger_id,  # type: ignore[union-attr]
            sequence=number,
            digest=signed.digest,
        )
        for number, signed in enumerate(intact)
    ]
    lengths = {32 + number * FRAME + more for number in range(len(log) // FRAME) for more in (0, 9)}
    found = set()
    for number, length in enumerate([0, 16, *sorted(lengths), len(log)]):
        for torn in (False, True):
            path = memory / f"{number}-{torn}" / "ledger.sqlite"
            path.parent.mkdir()
            shutil.copy(killed.ledger, path)
            rest = b"\xff" * (len(log) - length) if torn else b""
            Path(f"{path}-wal").write_bytes(log[:length] + rest)
            # The site's own witness lets no such beginning pass. Without it:
            shutil.copy(f"{killed.ledger}.lock", f"{path}.lock")
            if length < len(log):
                with pytest.raises(InputError, match=LOST):
                    open_ledger(path)
                shutil.copy(killed.ledger, path)
                Path(f"{path}-wal").write_bytes(log[:length] + rest)
            Path(f"{path}.lock").unlink()
            ledger = open_ledger(path)
            ours = signed_entries(path)
            held = [ledger.holds(head) for head in heads]
            ledger.close()
            if not any(held):  # not even the opening was whole: it is a new ledger
                assert len(ours) == 1
                continue
            assert ours == intact[: len(ours)]
            # Whoever saw the ledger when it was longer can tell.
            assert held == [True] * len(ours) + [False] * (len(intact) - len(ours))
            found.add(len(ours))
    # One transaction for each entry, and each of them was the last one whole.
    assert found == set(range(1, len(intact) + 1))


def test_a_log_that_was_lost_with_its_first_entries_is_noticed(
    killed: Outcome, open_ledger: OpenLedger, tmp_path: Path
) -> None:
    # Its lock file remembers that there was a ledger.
    path = tmp_path / "ledger.sqlite"
    for end in ("", ".lock"):
        shutil.copy(f"{killed.ledger}{end}", f"{path}{end}")
    with pytest.raises(InputError, match=r"is empty, but the ledger [0-9a-f]{32} was here"):
        open_ledger(path)
