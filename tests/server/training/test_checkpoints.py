from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fedward.server.training.checkpoints as checkpoints_module
from fedward.common.errors import InputError
from fedward.common.protocol.releases import ExecutedNoise
from fedward.server.release_log import ReleaseRecord
from fedward.server.training.checkpoints import CheckpointFolder
from fedward.server.training.state import TrainingState

NOISE = ExecutedNoise(noise_multiplier=2.0, share_multiplier=1.0, sampling_rate=0.5, count=8)


def state_at(round_number: int) -> TrainingState:
    return TrainingState(
        run_id="run",
        study_digest="0" * 64,
        round=round_number,
        logged=2 * round_number,
        tail_count=0,
        parameters=np.full(4, float(round_number)),
        first=np.zeros(4),
        second=np.zeros(4),
        tail=np.zeros(4),
        center=np.zeros(3),
        scale=np.ones(3),
    )


def records_of(round_number: int) -> list[ReleaseRecord]:
    return [
        ReleaseRecord(
            site=site,
            kind="training",
            session=1,
            round=round_number,
            attempt=1,
            query_digest="1" * 64,
            release_digest="2" * 64 if site == "a" else None,
            executed=NOISE if site == "a" else None,
            masked=site == "a",
            bytes=100,
            query_bytes=50,
            summed=site == "a",
            charged=True,
            failure=None if site == "a" else "no reply in time",
        )
        for site in "ab"
    ]


def saved(folder: Path, *, rounds: int = 3) -> CheckpointFolder:
    checkpoints = CheckpointFolder(folder)
    assert checkpoints.load() is None
    checkpoints.save(state_at(0), [])
    for number in range(1, rounds + 1):
        checkpoints.save(state_at(number), records_of(number))
    return checkpoints


def history(rounds: int) -> list[ReleaseRecord]:
    return [record for number in range(1, rounds + 1) for record in records_of(number)]


def test_a_new_folder_holds_nothing(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "not there").load() is None
    assert list(tmp_path.iterdir()) == []


def test_the_last_state_and_all_of_its_log_come_back(tmp_path: Path) -> None:
    saved(tmp_path / "deep" / "down")
    found = CheckpointFolder(tmp_path / "deep" / "down").load()

    assert found is not None
    assert found[0].to_frame() == state_at(3).to_frame()
    assert found[1] == history(3)


def test_it_can_be_loaded_and_continued_again_and_again(tmp_path: Path) -> None:
    saved(tmp_path, rounds=1)
    for number in itertools.count(2):
        if number > 4:
            break
        checkpoints = CheckpointFolder(tmp_path)
        found = checkpoints.load()
        assert found is not None
        assert found[0].round == number - 1
        checkpoints.save(state_at(number), records_of(number))

    found = CheckpointFolder(tmp_path).load()
    assert found is not None
    assert found[1] == history(4)


@pytest.mark.parametrize("torn", [0, 1, 20, None])
def test_lines_that_no_state_counts_are_cut_off(tmp_path: Path, torn: int | None) -> None:
    """A kill between the log and the state, or within a line of the log."""
    checkpoints = saved(tmp_path)
    line = records_of(4)[0].model_dump_json() + "\n"
    with (tmp_path / "releases.jsonl").open("a") as log:
        log.write(line[:torn])

    found = checkpoints.load()
    assert found is not None
    assert found[1] == history(3)
    checkpoints.save(state_at(4), records_of(4))
    found = CheckpointFolder(tmp_path).load()
    assert found is not None
    assert (found[0].round, found[1]) == (4, history(4))


def test_a_log_without_a_state_belongs_to_no_run(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (tmp_path / "state.frame").unlink()

    assert checkpoints.load() is None
    checkpoints.save(state_at(0), [])
    checkpoints.save(state_at(1), records_of(1))
    found = checkpoints.load()
    assert found is not None
    assert found[1] == history(1)


def test_a_state_half_written_beside_the_old_one_is_not_read(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (tmp_path / "state.frame.new").write_bytes(state_at(4).to_frame()[:50])

    found = checkpoints.load()
    assert found is not None
    assert found[0].round == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        state_at(3).to_frame()[:-1],
        state_at(3).to_frame() + b"\x00",
        replace(state_at(3), logged=7).to_frame(),
        replace(state_at(3), logged=10**9).to_frame(),
    ],
    ids=["empty", "garbage", "cut", "surplus", "one line too many", "far too many lines"],
)
def test_a_damaged_state_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    checkpoints = saved(tmp_path)
    (tmp_path / "state.frame").write_bytes(content)

    with pytest.raises(InputError, match=r"is damaged; delete its folder"):
        checkpoints.load()


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "garbage", "binary", "field"])
def test_a_damaged_log_is_an_input_error(tmp_path: Path, damage: str) -> None:
    checkpoints = saved(tmp_path)
    log = tmp_path / "releases.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    changed = {
        "empty": b"",
        "short": b"".join(lines[:-1]),
        "garbage": b"".join([*lines[:2], b"garbage\n", *lines[3:]]),
        "binary": b"".join([*lines[:2], b"\xff\xfe\n", *lines[3:]]),
        "field": b"".join([*lines[:2], lines[2].replace(b'"attempt"', b'"atempt"'), *lines[3:]]),
    }
    if damage == "gone":
        log.unlink()
    else:
        log.write_bytes(changed[damage])

    with pytest.raises(InputError, match="is damaged"):
        checkpoints.load()


def test_the_log_is_written_before_the_state_that_counts_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path)
    lines: list[int] = []
    replace_file = checkpoints_module.replace_file

    def watched(path: Path, content: bytes) -> None:
        lines.append((tmp_path / "releases.jsonl").read_bytes().count(b"\n"))
        assert TrainingState.from_frame(content).logged <= lines[-1]
        replace_file(path, content)

    monkeypatch.setattr(checkpoints_module, "replace_file", watched)
    checkpoints.save(state_at(4), records_of(4))

    assert lines == [8]


def test_what_is_damaged_is_left_as_it_is(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (tmp_path / "state.frame").write_bytes(b"garbage")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(InputError):
        checkpoints.load()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
