"""A site's ledger that goes back while a run is under way: each release has shown how far it was.

The vaults, their ledgers and the book of heads are real; nobody but the site notices the restore.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger_file import signed_entries
from fedward.common.ledger.entries import ReleaseReserved
from fedward.common.protocol.queries import OpenSessionQuery, decode_query
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.server.coordinator import coordinate
from fedward.server.errors import CoordinationError
from fedward.server.head_book import HeadFile
from fedward.server.run_options import RunOptions
from fedward.simulations.federation import SimulatedSite

MakeOptions = Callable[..., RunOptions]


class Hospital:
    """A vault over a ledger in a file, which can be backed up and restored elsewhere."""

    def __init__(self, recipe: SimulatedSite, folder: Path) -> None:
        self._recipe = recipe
        self._backup = folder / "restored.sqlite"
        self.path = folder / "ledger.sqlite"
        self._start()

    def _start(self) -> None:
        identity = SiteIdentity.from_private_bytes(self._recipe.identity)
        self.ledger = DurableLedger(self.path, site=self._recipe.name, identity=identity)
        self._vault = replace(self._recipe, ledger=self.ledger).vault()

    def answer(self, frame: bytes) -> bytes:
        return self._vault.answer(frame)

    def back_up(self) -> None:
        with (
            closing(sqlite3.connect(self.path)) as ledger,
            closing(sqlite3.connect(self._backup)) as copy,
        ):
            ledger.backup(copy)
        self._backup.chmod(0o600)

    def restore(self) -> None:
        """Go on with the backup in a new process, which knows no session."""
        self.ledger.close()
        self.path = self._backup
        self._start()

    def releases(self) -> int:
        return sum(isinstance(one.entry, ReleaseReserved) for one in signed_entries(self.path))


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study(
        training={"method": "distributed", "rounds": 6, "learning_rate": 1.0},
        privacy={"spare_attempts": 1},
    )


@pytest.fixture
def hospitals(
    study: Study, make_sites: Callable[..., list[SimulatedSite]], tmp_path: Path
) -> Iterator[list[Hospital]]:
    """Those of site-0, site-1 and site-2."""
    found = []
    for recipe in make_sites(study, noise_seed=1):
        (tmp_path / recipe.name).mkdir()
        found.append(Hospital(recipe, tmp_path / recipe.name))
    yield found
    for hospital in found:
        hospital.ledger.close()


@pytest.fixture
def options(study: Study, make_options: MakeOptions) -> Callable[..., RunOptions]:
    return lambda **changes: make_options(study=study, timeout=60.0, **changes)


def restoring(hospital: Hospital) -> Callable[[Any], None]:
    """Back it up after the first sum of a run, and restore that three sums later."""

    def watch(state: Any) -> None:
        if state.round == 0:
            hospital.back_up()
        if state.round == 3:
            hospital.restore()

    return watch


def test_a_backup_restored_in_mid_session_is_refused_by_the_vault_that_is_shown_its_releases(
    study: Study,
    hospitals: list[Hospital],
    options: Callable[..., RunOptions],
    make_grid: Callable[..., Any],
) -> None:
    grid = make_grid([hospital.answer for hospital in hospitals])
    with pytest.raises(
        CoordinationError, match=r"site-0 in session 2: refused \(ledger_rolled_back\)"
    ):
        coordinate(grid, study, options=options(minimum_sites=3), on_round=restoring(hospitals[0]))
    first, second = (query for query in grid.queries if isinstance(query, OpenSessionQuery))
    shown = {known.head.site: known.head for known in second.heads}

    assert first.heads == ()
    # The head of its fourth release, which no opening of a session has shown.
    assert hospitals[0].releases() == 1
    assert not hospitals[0].ledger.holds(shown["site-0"])
    for hospital in hospitals[1:]:
        assert hospital.releases() == 5
        assert hospital.ledger.holds(shown[hospital.path.parent.name])


def test_the_other_sites_go_on_without_it(
    study: Study,
    hospitals: list[Hospital],
    options: Callable[..., RunOptions],
    make_grid: Callable[..., Any],
) -> None:
    grid = make_grid([hospital.answer for hospital in hospitals])
    run = coordinate(
        grid,
        study,
        options=options(minimum_sites=2, rejoin_after=1),
        on_round=restoring(hospitals[0]),
    )
    lines = [line for line in run.records if line.site == "site-0"]

    assert run.state.round == study.training.rounds
    assert [line.release_digest is not None for line in lines] == [True] * 4 + [False]
    assert lines[-1].failure is not None
    assert lines[-1].failure.startswith("refused (unknown_session)")
    assert hospitals[0].releases() == 1
    # It was asked to come back once, and refused for good.
    sessions = [query for query in grid.queries if isinstance(query, OpenSessionQuery)]
    assert len(sessions) == 2
    newest = {known.head.site: known.head for known in run.heads}
    assert newest["site-0"].position == lines[3].ledger


def test_a_coordinator_that_was_killed_knows_what_was_released_to_it(
    study: Study,
    hospitals: list[Hospital],
    options: Callable[..., RunOptions],
    make_grid: Callable[..., Any],
    make_checkpoints: Callable[..., Any],
    tmp_path: Path,
) -> None:
    class Killed(BaseException):
        pass

    def third_round(frame: bytes) -> bytes:
        query = decode_query(frame)[0]
        if not isinstance(query, OpenSessionQuery) and query.round == 3:
            raise Killed
        return hospitals[2].answer(frame)

    book, kept = HeadFile(tmp_path / "heads.json"), make_checkpoints()
    answers = [hospital.answer for hospital in hospitals]
    hospitals[0].back_up()
    with pytest.raises(Killed):
        coordinate(
            make_grid([*answers[:2], third_round]),
            study,
            options=options(heads=book),
            checkpoints=kept,
        )
    known = {one.head.site: one.head for one in HeadFile(tmp_path / "heads.json").known()}
    # Two sums were complete; of the third the answers of two sites had arrived.
    (*_, last) = [
        one for one in signed_entries(hospitals[0].path) if isinstance(one.entry, ReleaseReserved)
    ]
    assert known["site-0"].digest == last.digest
    assert known["site-2"].sequence < known["site-0"].sequence

    hospitals[0].restore()
    again = options(heads=HeadFile(tmp_path / "heads.json"))
    with pytest.raises(
        CoordinationError, match=r"site-0 in session 2: refused \(ledger_rolled_back\)"
    ):
        coordinate(make_grid(answers), study, options=again, checkpoints=kept)


def test_a_site_that_goes_back_with_its_memory_is_found_by_its_next_release(
    federate: Callable[..., Any],
    begun: Callable[..., Any],
    wanted: Callable[..., Any],
) -> None:
    """As a whole machine that is set back does: it still has its session keys."""
    federation = federate(coordinator=SiteIdentity.generate())
    for site in federation.sites.values():
        site.entries = 10
    grid = federation.grid()
    rounds = begun(grid, federation.options(minimum_sites=2, rejoin_after=1))
    rounds.ask(wanted(round=1))
    rounds.ask(wanted(round=2))
    federation.sites["b"].entries = 10
    rounds.ask(wanted(round=3))
    rounds.ask(wanted(round=4))
    lost = [line for line in rounds.log.records if line.failure]

    assert [(line.site, line.round, line.charged) for line in lost] == [("b", 3, True)]
    assert lost[0].failure == "shows a ledger that went back from entry 12 to 10"
    assert [query.roster for query in grid.sums[-2:]] == [("a", "c")] * 2
    # It is not asked back, and what it had shown before stays known.
    assert rounds.last_session == 1
    assert {known.head.site: known.head.sequence for known in rounds.heads} == {
        "a": 18,
        "b": 12,
        "c": 18,
    }
