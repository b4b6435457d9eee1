from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.client.cohort import Cohort
from fedward.client.site.identity_file import read_identity
from fedward.client.site.site_policy import open_ledger
from fedward.client.site.site_settings import load_site, write_site_toml
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.gate import Gate
from fedward.client.vault.ledger_file import signed_entries
from fedward.common.ledger.entries import (
    BalanceStruck,
    HeadCountersigned,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import plan_for
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import OpenSessionQuery
from fedward.common.protocol.round_numbers import evaluation_round
from fedward.common.secure_sum.roster import SignedRoster, checked_roster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.server.errors import CoordinationError
from fedward.server.run_log import read_run_log
from fedward.server.run_options import RunOptions
from fedward.server.training.checkpoints import CheckpointFolder
from fedward.simulations.books import MAX_BOOKED_SITES, Books, why_no_books
from fedward.simulations.credentials import Credentials
from fedward.simulations.drop_outs import DropOuts
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedRun, SimulatedSite, train

MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]
NAMES = ("site-0", "site-1", "site-2")


@pytest.fixture
def credentials() -> Credentials:
    """Keys of the sites that take part."""
    return Credentials.issue(NAMES, run_id="run", randomness=RandomSource.insecure(0))


@pytest.fixture
def booked(
    study: Study,
    make_sites: MakeSites,
    credentials: Credentials,
    tmp_path: Path,
) -> Callable[..., SimulatedRun]:
    """Trains with books in the folder ``books``; ``site`` is what differs at every site."""
    keys = {
        "federation_key": credentials.federation_key,
        "known_keys": credentials.known_keys,
    }

    def run(*, checkpoints: CheckpointFolder | None = None, **site: Any) -> SimulatedRun:
        sites = [
            replace(one, identity=credentials.identities[one.name], **site)
            for one in make_sites(study, noise_seed=3, policy=keys)
        ]
        return Books(tmp_path / "books", credentials=credentials).train(
            study,
            sites,
            engine=InProcessEngine(),
            options=RunOptions(
                run_id="run",
                signed_roster=credentials.signed_roster,
                federation_key=credentials.federation_key,
                coordinator=SiteIdentity.from_private_bytes(credentials.coordinator),
                budget=RunBudget(plan_for(study, sites=3)),
                timeout=60.0,
                rejoin_after=1,
            ),
            checkpoints=checkpoints,
        )

    return run


def folder_of(path: Path, site: str) -> Path:
    return path / "books" / "sites" / site


def test_books_hold_all_that_an_audit_reads(
    booked: Callable[..., SimulatedRun],
    study: Study,
    credentials: Credentials,
    tmp_path: Path,
) -> None:
    run = booked()
    books = tmp_path / "books"
    found = {str(path.relative_to(books)) for path in books.rglob("*") if path.is_file()}
    of_a_site = {"identity.key", "ledger.sqlite", "ledger.sqlite.lock", "site.toml"}

    assert found == {
        "coordinator.jsonl",
        "coordinator.key",
        "federation.pub",
        "roster.json",
        "study.json",
        *(f"sites/{site}/{name}" for site in NAMES for name in of_a_site),
    }
    assert Study.model_validate_json((books / "study.json").read_text()) == study
    key = bytes.fromhex((books / "federation.pub").read_text())
    signed = SignedRoster.model_validate_json((books / "roster.json").read_text())
    roster = checked_roster(signed, federation_key=key)
    assert roster.names == NAMES
    log = read_run_log(books / "coordinator.jsonl")
    assert log.records == run.records
    assert log.heads == run.heads
    assert log.started.signed_roster == signed
    coordinator = read_identity(books / "coordinator.key")
    assert roster.coordinator_key == coordinator.public_key.hex()
    assert log.is_signed_by(coordinator.public_key)
    assert not log.is_signed_by(SiteIdentity.generate().public_key)
    for site in NAMES:
        identity = read_identity(folder_of(tmp_path, site) / "identity.key")
        assert identity.public_key == roster.key_of(site)
    assert credentials.signed_roster == signed


def test_keys_are_for_their_owner_alone(
    booked: Callable[..., SimulatedRun], tmp_path: Path
) -> None:
    umask = os.umask(0)
    try:
        booked()
    finally:
        os.umask(umask)
    books = tmp_path / "books"
    secret = [books / "coordinator.key", *books.rglob("identity.key"), *books.rglob("*.sqlite")]

    assert len(secret) == 1 + 2 * len(NAMES)
    for path in secret:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(books.stat().st_mode) == 0o700


def test_log_and_ledgers_tell_the_same(
    booked: Callable[..., SimulatedRun], study: Study, tmp_path: Path
) -> None:
    run = booked()
    ends = {known.head.site: known.head for known in run.heads}

    assert run.notes == ()
    for site in NAMES:
        chain = signed_entries(folder_of(tmp_path, site) / "ledger.sqlite")
        entries = [signed.entry for signed in chain]
        reserved = {one.sequence: one for one in entries if isinstance(one, ReleaseReserved)}
        committed = {one.of: one for one in entries if isinstance(one, ReleaseCommitted)}
        records = [record for record in run.records if record.site == site]
        assert len(records) == len(reserved) == len(committed) == study.training.rounds + 2
        for record in records:
            assert record.ledger is not None
            entry = reserved[record.ledger.sequence]
            assert record.ledger.digest == chain[entry.sequence].digest
            assert (entry.sum, entry.round, entry.attempt) == (
                record.kind,
                record.round,
                record.attempt,
            )
            assert entry.query_digest == record.query_digest
            assert committed[entry.sequence].release_digest == record.release_digest
            assert (entry.sites, entry.cohorts) == (3, ("patients",))
        # At the end the coordinator showed the head of the last release, and then saw where the
        # ledger ended.
        seen = [one for one in entries if isinstance(one, HeadCountersigned)]
        assert [one.head_sequence for one in seen] == [max(reserved)]
        (balance,) = [one for one in entries if isinstance(one, BalanceStruck)]
        assert balance.epsilon <= study.privacy.epsilon
        assert ends[site].sequence == len(chain) - 1
        assert ends[site].digest == chain[-1].digest


def test_a_sites_file_opens_its_ledger_with_the_studys_epsilon_as_cap(
    booked: Callable[..., SimulatedRun], study: Study, tmp_path: Path
) -> None:
    booked()
    path = folder_of(tmp_path, "site-1") / "site.toml"
    settings = load_site(path)
    (budget,) = settings.cohorts.values()

    assert settings.name == "site-1"
    assert (budget.name, budget.delta) == ("patients", study.privacy.delta)
    assert (budget.epsilon_cap, budget.epsilon_alone_cap) == (study.privacy.epsilon, None)
    ledger = DurableLedger(
        path.with_name("ledger.sqlite"),
        site="site-1",
        identity=read_identity(path.with_name("identity.key")),
        cohorts=[budget],
    )
    try:
        assert len(ledger.entries()) == study.training.rounds + 2
    finally:
        ledger.close()


class GuardedCohort(Cohort):
    """Fails the test when any of its records is touched once a session is open."""

    locked = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"features", "target", "offsets"} and type(self).locked:
            raise AssertionError(f"a vault read {name}")
        return super().__getattribute__(name)


def guarded(cohort: Cohort) -> GuardedCohort:
    return GuardedCohort(features=cohort.features, target=cohort.target, offsets=cohort.offsets)


@pytest.mark.parametrize(
    ("written", "changed", "said"),
    [
        ("epsilon_cap = 3.0", "epsilon_cap = 0.01", "cap for all studies is 0.01"),
        (
            "epsilon_cap = 3.0",
            "epsilon_cap = 3.0\nepsilon_alone_cap = 0.02",
            "cap for all studies is 0.02",
        ),
        ("[[cohorts]]", "[study_caps]\nepsilon = 0.03\n[[cohorts]]", "cap for this study is 0.03"),
        (
            "[[cohorts]]",
            '[study_caps.of."DIGEST"]\nepsilon_alone = 0.04\n[[cohorts]]',
            "cap for this study is 0.04",
        ),
    ],
)
def test_a_cap_in_a_sites_file_stops_releases_before_any_record_is_read(
    booked: Callable[..., SimulatedRun],
    study: Study,
    make_cohort: Callable[..., Cohort],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    written: str,
    changed: str,
    said: str,
) -> None:
    def write(path: Path, **fields: Any) -> None:
        write_site_toml(path, **fields)
        text = path.read_text("utf-8")
        assert written in text
        path.write_text(text.replace(written, changed.replace("DIGEST", study.digest)), "utf-8")

    def open_session(gate: Gate, query: OpenSessionQuery) -> Any:
        monkeypatch.setattr(GuardedCohort, "locked", True)
        return opened(gate, query)

    opened = Gate.open_session
    monkeypatch.setattr("fedward.simulations.books.write_site_toml", write)
    monkeypatch.setattr(Gate, "open_session", open_session)

    with pytest.raises(CoordinationError) as caught:
        booked(cohort=guarded(make_cohort()), held_out=guarded(make_cohort(seed=1)))

    assert said in str(caught.value)
    for site in NAMES:
        chain = signed_entries(folder_of(tmp_path, site) / "ledger.sqlite")
        assert not any(isinstance(signed.entry, ReleaseReserved) for signed in chain)


def test_a_model_is_the_same_with_books_and_without(
    booked: Callable[..., SimulatedRun],
    study: Study,
    make_sites: MakeSites,
    make_options: MakeOptions,
) -> None:
    plain = train(
        study,
        make_sites(study, noise_seed=3),
        engine=InProcessEngine(),
        options=make_options(study=study, timeout=60.0),
    )
    with_books = booked()

    assert with_books.state.to_frame() == plain.state.to_frame()
    assert plain.heads == ()
    assert {record.ledger for record in plain.records} == {None}


def test_books_that_were_there_are_replaced(
    booked: Callable[..., SimulatedRun], tmp_path: Path
) -> None:
    first = booked()
    (tmp_path / "books" / "more.txt").write_text("of before")
    second = booked()

    assert not (tmp_path / "books" / "more.txt").exists()
    assert read_run_log(tmp_path / "books" / "coordinator.jsonl").records == second.records
    before, after = ({known.head.ledger_id for known in run.heads} for run in (first, second))
    assert len(before | after) == 2 * len(NAMES)


def test_an_attempt_that_was_lost_is_in_ledger_and_log(
    booked: Callable[..., SimulatedRun], tmp_path: Path
) -> None:
    run = booked(drop_outs=DropOuts(rate=0.2, seed=5))
    lost = [record for record in run.records if record.failure is not None]

    whens = {"after it had answered" in str(record.failure) for record in lost}
    assert whens == {True, False}
    log = read_run_log(tmp_path / "books" / "coordinator.jsonl")
    assert [one for one in log.records if one.failure is not None] == lost
    for site in NAMES:
        entries = [
            signed.entry for signed in signed_entries(folder_of(tmp_path, site) / "ledger.sqlite")
        ]
        places = {(one.round, one.attempt) for one in entries if isinstance(one, ReleaseReserved)}
        mine = [record for record in run.records if record.site == site and record.charged]
        assert places <= {(record.round, record.attempt) for record in mine}
        for record in mine:
            # Who was down before it computed is taken as charged, and has charged itself nothing.
            was_asked = record.failure is None or "after it had answered" in record.failure
            assert ((record.round, record.attempt) in places) == was_asked


def test_a_training_without_an_end_has_its_log_as_far_as_it_was_kept(
    booked: Callable[..., SimulatedRun],
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoints = CheckpointFolder(tmp_path / "kept")

    def fails(*_: object, **__: object) -> None:
        raise CoordinationError("nobody is left")

    monkeypatch.setattr("fedward.server.coordinator.next_state", fails)
    with pytest.raises(CoordinationError, match="nobody is left"):
        booked(checkpoints=checkpoints)
    log = read_run_log(tmp_path / "books" / "coordinator.jsonl")

    assert [record.kind for record in log.records] == ["moments"] * 3
    # The sites were told that it is over.
    for known in log.heads:
        path = folder_of(tmp_path, known.head.site) / "ledger.sqlite"
        entries = [signed.entry for signed in signed_entries(path)]
        assert isinstance(entries[-1], BalanceStruck)
        assert known.head.sequence == len(entries) - 1
    assert evaluation_round(study) not in {record.round for record in log.records}


def test_a_ledger_that_cannot_be_made_gives_the_others_back(
    booked: Callable[..., SimulatedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[DurableLedger] = []
    closed: list[DurableLedger] = []
    close = DurableLedger.close

    def make(*args: Any, **options: Any) -> DurableLedger:
        if len(opened) == 2:
            raise OSError("no space left")
        opened.append(open_ledger(*args, **options))
        return opened[-1]

    def note(ledger: DurableLedger) -> None:
        closed.append(ledger)
        close(ledger)

    monkeypatch.setattr("fedward.simulations.books.open_ledger", make)
    monkeypatch.setattr(DurableLedger, "close", note)
    with pytest.raises(OSError, match="no space left"):
        booked()

    assert closed == opened
    assert not (tmp_path / "books" / "coordinator.jsonl").exists()


def test_only_a_small_simulation_in_one_process_has_books() -> None:
    assert why_no_books("in-process", sites=MAX_BOOKED_SITES) is None
    assert "ray engine" in str(why_no_books("ray", sites=4))
    assert "more than 100 hospitals" in str(why_no_books("in-process", sites=101))
