"""A run killed at any moment and continued equals one that was never interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.serverapp import ServerApp

import fedward.server.training.checkpoints as checkpoints_module
from fedward.client.vault.timings import VaultTimings
from fedward.common.errors import InputError
from fedward.common.protocol.queries import AnySumQuery, OpenSessionQuery, encode_query
from fedward.common.protocol.releases import (
    Answer,
    Refusal,
    RefusalReason,
    SessionOpened,
    decode_answer,
)
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_options import RunOptions
from fedward.server.training.checkpoints import CheckpointFolder
from fedward.server.training.state import TrainingState
from fedward.simulations.drop_outs import DropOuts, SimulatedVault
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedSite, train

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, Any]]

SEED = 11
STUDIES: dict[str, dict[str, Any]] = {
    "distributed": {
        "training": {
            "method": "distributed",
            "rounds": 4,
            "learning_rate": 1.0,
            "momentum": 0.5,
            "schedule": "cosine",
            "average_last": 2,
        }
    },
    "local": {
        "local": True,
        "training": {
            "method": "local",
            "rounds": 3,
            "epochs": 1,
            "sampling_rate": 0.5,
            "learning_rate": 0.5,
            "combine": "fedadam",
        },
    },
}


class Killed(BaseException):
    """Stands for a kill: nothing on the way may catch it."""


class DyingCheckpoints(CheckpointFolder):
    """Dies at the n-th save, counted from 0, at one of its moments."""

    def __init__(self, folder: Path, *, dies_at: int, moment: str) -> None:
        super().__init__(folder)
        self.folder = folder
        self.left = dies_at
        self.moment = moment

    def save(self, state: TrainingState, new_records: Sequence[ReleaseRecord]) -> None:
        self.left -= 1
        if self.left >= 0:
            super().save(state, new_records)
            return
        if self.moment == "before the log":
            raise Killed
        if self.moment == "within a line of the log":
            lines = "".join(f"{record.model_dump_json()}\n" for record in new_records)
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "releases.jsonl").open("a") as log:
                log.write(lines[: len(lines) * 2 // 3])
            raise Killed
        assert self.moment == "between log and state"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints_module, "replace_file", self._die)
            super().save(state, new_records)

    @staticmethod
    def _die(path: Path, content: bytes) -> None:
        path.with_name(path.name + ".new").write_bytes(content[:100])
        raise Killed


MOMENTS = ("before the log", "within a line of the log", "between log and state")


RunOf = Callable[..., CompletedRun]


@pytest.fixture
def run_of(make_options: Callable[..., RunOptions]) -> RunOf:
    def run(
        study: Study,
        sites: list[SimulatedSite],
        checkpoints: CheckpointFolder | None,
        *,
        engine: InProcessEngine | None = None,
        **others: Any,
    ) -> CompletedRun:
        options = make_options(
            [site.name for site in sites],
            study=study,
            rejoin_after=1,
        )
        return train(
            study,
            sites,
            engine=engine or InProcessEngine(),
            options=options,
            checkpoints=checkpoints,
            **others,
        )

    return run


OF_A_SESSION = {"session", "query_digest", "release_digest", "bytes", "query_bytes"}
"""What a session of its own changes in the log: its number, its keys and its masks."""


def logged(records: Sequence[ReleaseRecord]) -> list[dict[str, Any]]:
    return [record.model_dump(exclude=OF_A_SESSION) for record in records]


def result_of(state: TrainingState) -> bytes:
    """All of a state but how many sessions it took."""
    return replace(state, session=0).to_frame()


def same(one: CompletedRun, other: CompletedRun) -> bool:
    return result_of(one.state) == result_of(other.state) and (
        logged(one.records) == logged(other.records)
    )


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", STUDIES)
def test_a_kill_during_any_save_loses_nothing(
    run_of: RunOf,
    make_study: MakeStudy,
    make_sites: MakeSites,
    tmp_path: Path,
    kind: str,
    moment: str,
) -> None:
    study = make_study(**STUDIES[kind])
    sites = make_sites(study, noise_seed=SEED)
    whole = run_of(study, sites, CheckpointFolder(tmp_path / "whole"))

    for dies_at in range(study.training.rounds + 1):
        folder = tmp_path / f"killed-{dies_at}"
        with pytest.raises(Killed):
            run_of(study, sites, DyingCheckpoints(folder, dies_at=dies_at, moment=moment))
        continued = run_of(study, sites, CheckpointFolder(folder))

        assert same(continued, whole)
        kept = CheckpointFolder(folder).load()
        assert kept is not None
        assert result_of(kept[0]) == result_of(whole.state)
        assert logged(kept[1]) == logged(whole.records)


@pytest.mark.parametrize("kind", STUDIES)
def test_a_kill_after_any_round_loses_nothing(
    run_of: RunOf, make_study: MakeStudy, make_sites: MakeSites, tmp_path: Path, kind: str
) -> None:
    study = make_study(**STUDIES[kind])
    sites = make_sites(study, noise_seed=SEED)
    whole = run_of(study, sites, None)

    for last in range(study.training.rounds + 1):
        folder = CheckpointFolder(tmp_path / f"killed-{last}")

        def die(state: TrainingState, last: int = last) -> None:
            if state.round == last:
                raise Killed

        with pytest.raises(Killed):
            run_of(study, sites, folder, on_round=die)
        seen: list[int] = []
        continued = run_of(
            study, sites, folder, on_round=lambda state, seen=seen: seen.append(state.round)
        )

        assert same(continued, whole)
        assert seen == list(range(last, study.training.rounds + 1))


def test_a_run_killed_after_every_single_round_comes_through(
    run_of: RunOf, make_study: MakeStudy, make_sites: MakeSites, tmp_path: Path
) -> None:
    study = make_study(**STUDIES["distributed"])
    sites = make_sites(study, noise_seed=SEED)
    whole = run_of(study, sites, None)
    starts: list[int] = []

    for _ in range(study.training.rounds):
        states: list[int] = []

        def die(state: TrainingState, states: list[int] = states) -> None:
            states.append(state.round)
            if len(states) == 2:
                raise Killed

        with pytest.raises(Killed):
            run_of(study, sites, CheckpointFolder(tmp_path), on_round=die)
        starts.append(states[0])

    assert starts == list(range(study.training.rounds))
    assert same(run_of(study, sites, CheckpointFolder(tmp_path)), whole)


def test_with_fresh_noise_a_continued_run_still_has_every_round_once(
    run_of: RunOf, make_study: MakeStudy, make_sites: MakeSites, tmp_path: Path
) -> None:
    study = make_study(**STUDIES["distributed"])
    sites = make_sites(study)
    with pytest.raises(Killed):
        run_of(study, sites, DyingCheckpoints(tmp_path, dies_at=3, moment="between log and state"))
    before = CheckpointFolder(tmp_path).load()
    run = run_of(study, sites, CheckpointFolder(tmp_path))

    assert before is not None
    assert run.records[: len(before[1])] == tuple(before[1])
    # Four rounds after the scaler, and the evaluation.
    assert [record.round for record in run.records] == [n for n in range(6) for _ in range(3)]
    assert len({record.release_digest for record in run.records}) == len(run.records)


class WatchingEngine(InProcessEngine):
    """Keeps the sites as the run found them."""

    def __init__(self) -> None:
        self.sites: list[SimulatedSite] = []

    def run(
        self, server_app: ServerApp, sites: Sequence[SimulatedSite]
    ) -> tuple[VaultTimings, ...]:
        self.sites = list(sites)
        return super().run(server_app, sites)


def offer_of(vault: SimulatedVault, opening: OpenSessionQuery) -> SessionOffer:
    answer, _ = decode_answer(open_sealed(vault.answer(encode_query(opening, {}))).frame)
    assert isinstance(answer, SessionOpened)
    return answer.offer


def failing(make_sites: MakeSites, study: Study) -> list[SimulatedSite]:
    return make_sites(study, noise_seed=SEED, count=4, drop_outs=DropOuts(rate=0.1, seed=2))


def test_a_run_whose_sites_fail_is_continued_after_any_round(
    run_of: RunOf, make_study: MakeStudy, make_sites: MakeSites, tmp_path: Path
) -> None:
    study = make_study(privacy={"spare_attempts": 20})
    sites = failing(make_sites, study)
    whole = run_of(study, sites, None)
    assert any(record.failure for record in whole.records)

    for last in range(study.training.rounds + 1):
        folder = CheckpointFolder(tmp_path / f"killed-{last}")

        def die(state: TrainingState, last: int = last) -> None:
            if state.round == last:
                raise Killed

        with pytest.raises(Killed):
            run_of(study, sites, folder, on_round=die)
        assert same(run_of(study, sites, folder), whole)


def test_ledgers_are_restored_with_all_that_may_have_been_answered(
    run_of: RunOf, make_study: MakeStudy, make_sites: MakeSites, tmp_path: Path
) -> None:
    study = make_study(privacy={"spare_attempts": 20})
    run = run_of(study, failing(make_sites, study), CheckpointFolder(tmp_path))
    engine = WatchingEngine()
    run_of(study, failing(make_sites, study), CheckpointFolder(tmp_path), engine=engine)

    lost = [record for record in run.records if record.failure]
    assert lost
    for site in engine.sites:
        asked = [record for record in run.records if record.site == site.name]
        assert [entry.place for entry in site.entries] == [
            ("run", record.round, record.attempt) for record in asked
        ]
        assert [entry.kind for entry in site.entries] == [record.kind for record in asked]
        assert all(entry.event and entry.event_alone for entry in site.entries)
        assert [entry.release_digest for entry in site.entries] == [
            record.release_digest for record in asked
        ]


@pytest.mark.parametrize("kind", STUDIES)
def test_a_continued_vault_knows_what_it_answered_and_what_is_spent(
    run_of: RunOf,
    make_study: MakeStudy,
    make_sites: MakeSites,
    make_options: Callable[..., RunOptions],
    make_query: MakeQuery,
    ask: Ask,
    tmp_path: Path,
    kind: str,
) -> None:
    study = make_study(**STUDIES[kind])
    run_of(study, make_sites(study), CheckpointFolder(tmp_path))
    engine = WatchingEngine()
    run_of(study, make_sites(study), CheckpointFolder(tmp_path), engine=engine)

    for site in engine.sites:
        assert [entry.round for entry in site.entries] == list(range(study.training.rounds + 2))
        assert all(entry.study_digest == study.digest for entry in site.entries)
    training = "local_update" if kind == "local" else "gradient_sum"
    opening = OpenSessionQuery(
        run_id="run",
        study_digest=study.digest,
        session=1,
        signed_roster=make_options().signed_roster,
    )
    vaults = [site.vault() for site in engine.sites]
    offers = tuple(offer_of(vault, opening) for vault in vaults)
    for query, reason in (
        (make_query(study, training, round=2, offers=offers), RefusalReason.ALREADY_ANSWERED),
        (make_query(study, "moments"), RefusalReason.ALREADY_ANSWERED),
        (make_query(study, "evaluation"), RefusalReason.ALREADY_ANSWERED),
        (make_query(study, training, round=2, attempt=2), RefusalReason.BUDGET_EXCEEDED),
        (make_query(study, "evaluation", attempt=2), RefusalReason.BUDGET_EXCEEDED),
    ):
        answer, _ = ask(vaults[0], study, query)
        assert isinstance(answer, Refusal)
        assert answer.reason == reason


def test_a_damaged_checkpoint_stops_the_run_and_stays_as_it_is(
    run_of: RunOf, study: Study, make_sites: MakeSites, tmp_path: Path
) -> None:
    run_of(study, make_sites(study), CheckpointFolder(tmp_path))
    state = (tmp_path / "state.frame").read_bytes()
    damaged = state[: len(state) // 2]
    (tmp_path / "state.frame").write_bytes(damaged)

    with pytest.raises(InputError, match="is damaged"):
        run_of(study, make_sites(study), CheckpointFolder(tmp_path))
    assert (tmp_path / "state.frame").read_bytes() == damaged


def test_a_checkpoint_keeps_numbers_exactly(
    run_of: RunOf, study: Study, make_sites: MakeSites, tmp_path: Path
) -> None:
    run = run_of(study, make_sites(study), CheckpointFolder(tmp_path))
    found = CheckpointFolder(tmp_path).load()

    assert found is not None
    assert np.array_equal(found[0].parameters, run.state.parameters)
    assert tuple(found[1]) == run.records
