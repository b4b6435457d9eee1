from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.server.training.state import TrainingState
from fedward.simulations.results import CrossCheck, Metrics, RoundPoint, SeedResult
from fedward.simulations.run_folder import (
    SETTINGS,
    ExperimentSettings,
    FinishedSeed,
    RunFolder,
    check_new_run,
)

MakeStudy = Callable[..., Study]
MODEL = {"name": "mlp", "options": {"hidden": [5]}}


def settings_of(study: Study) -> ExperimentSettings:
    return ExperimentSettings(
        study=study,
        study_source="studies/small.toml",
        data_folder=None,
        sites=4,
        data_digest="0" * 64,
        epsilons=(0.1, 1.0, 3.0),
        seeds=(0, 1),
        insecure_noise_seed=None,
        command="fedward simulate",
        started="2026-01-01T00:00:00+00:00",
    )


def point(number: int, *, accuracy: float = 0.5) -> RoundPoint:
    return RoundPoint(round=number, accuracy=accuracy, auroc=None, log_loss=0.7, epsilon=1.0)


def finished() -> FinishedSeed:
    metrics = Metrics(
        patients=3, accuracy=0.5, auroc=None, sensitivity=0.1, specificity=None, f1=None, brier=0.2
    )
    return FinishedSeed(
        result=SeedResult(
            seed=1,
            overall=metrics,
            by_site={"a": metrics},
            seconds=1.5,
            model_digest="0" * 64,
        ),
        rounds=[point(1), point(2)],
        target=[0.0, 1.0, 1.0],
        probability=[0.1, 1 / 3, 0.9],
        epsilon=1.0,
        epsilon_alone=2.0,
        cross_check=CrossCheck(prv_low=0.9, prv_high=1.1, rdp=1.2),
    )


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_settings_come_back_and_name_the_same_study(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(model=MODEL, privacy={"epsilon": 0.1 + 0.2, "delta": 1e-5 / 3})
    RunFolder.create(tmp_path / "deep" / "runs", "one", settings_of(study))
    folder, settings = RunFolder.open(tmp_path / "deep" / "runs" / "one")

    assert settings == settings_of(study)
    assert settings.study.digest == study.digest
    assert folder.path == tmp_path / "deep" / "runs" / "one"
    assert files_of(folder.path) == {SETTINGS}


def test_a_name_that_is_taken_is_refused_and_nothing_changes(study: Study, tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "one", settings_of(study))
    (tmp_path / "two").write_text("a file")
    (tmp_path / "one" / "notes.txt").write_text("mine")
    before = {name: (tmp_path / name).read_bytes() for name in files_of(tmp_path)}

    for name in ("one", "two"):
        with pytest.raises(InputError, match=r"exists already; choose another --name"):
            RunFolder.create(tmp_path, name, settings_of(study))
        with pytest.raises(InputError, match="exists already"):
            check_new_run(tmp_path, name)
    assert {name: (tmp_path / name).read_bytes() for name in files_of(tmp_path)} == before


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "/a", ".hidden", "a b", "a\n", "ä", "-a", "x" * 101]
)
def test_a_name_that_is_no_plain_folder_name_is_refused(
    study: Study, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="is no plain folder name"):
        RunFolder.create(tmp_path / "runs", name, settings_of(study))
    assert list(tmp_path.iterdir()) == []


def test_checking_a_name_writes_nothing(tmp_path: Path) -> None:
    check_new_run(tmp_path / "runs", "one")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_input_error(study: Study, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")

    with pytest.raises(InputError, match="cannot be made"):
        RunFolder.create(tmp_path / "runs", "one", settings_of(study))


def test_there_is_nothing_to_resume_where_no_run_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")

    for path in (tmp_path / "empty", tmp_path / "file", tmp_path / "not there"):
        with pytest.raises(InputError, match="holds no run to resume"):
            RunFolder.open(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b"fedward-run-2", b"fedward-run-9"),
        lambda text: text.replace(b'"seeds"', b'"sedes"'),
        lambda text: text.replace(b'"epsilon"', b'"epsilom"'),
        lambda text: text.replace(b"A small study", b"A \xff study"),
        lambda _: b"[]",
    ],
    ids=["empty", "half", "version", "field", "study", "bytes", "list"],
)
def test_damaged_settings_are_an_input_error(
    study: Study, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    RunFolder.create(tmp_path, "one", settings_of(study))
    path = tmp_path / "one" / SETTINGS
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(InputError, match="is damaged or was written by another version"):
        RunFolder.open(tmp_path / "one")


def test_points_come_back_by_round_and_repeated_ones_once(study: Study, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "one", settings_of(study))
    for number, accuracy in ((1, 0.1), (2, 0.2), (2, 0.25), (3, 0.3)):
        folder.add_point("arm", 0, "all", point(number, accuracy=accuracy))
    folder.add_point("arm", 1, "all", point(1))
    folder.add_point("arm", 0, "north", point(1))

    found = folder.points("arm", 0, "all")
    assert [(one.round, one.accuracy) for one in found] == [(1, 0.1), (2, 0.25), (3, 0.3)]
    assert found[0] == point(1, accuracy=0.1)


@pytest.mark.parametrize("kept", range(0, 90, 5))
def test_a_line_torn_by_a_kill_spoils_no_other(study: Study, tmp_path: Path, kept: int) -> None:
    folder = RunFolder.create(tmp_path, "one", settings_of(study))
    for number in (1, 2):
        folder.add_point("arm", 0, "all", point(number))
    path = tmp_path / "one" / "trainings" / "arm" / "seed-0" / "all" / "rounds.jsonl"
    whole = path.read_bytes()
    last = whole.rindex(b"\n")
    path.write_bytes(whole[: last + kept])
    # The round is evaluated again when the run is continued, and then the next.
    folder.add_point("arm", 0, "all", point(2))
    folder.add_point("arm", 0, "all", point(3))

    assert folder.points("arm", 0, "all") == [point(1), point(2), point(3)]


def test_a_finished_seed_comes_back(study: Study, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "one", settings_of(study))
    assert folder.finished("arm", 1) is None
    folder.finish("arm", 1, finished())

    found = folder.finished("arm", 1)
    assert found == finished()
    assert found is not None
    target, probability = found.predictions
    assert target.tolist() == [0.0, 1.0, 1.0]
    assert probability.tolist() == [0.1, 1 / 3, 0.9]
    assert folder.finished("arm", 0) is None
    assert folder.finished("other", 1) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"seed": 1}'])
def test_a_damaged_seed_is_an_input_error(study: Study, tmp_path: Path, content: bytes) -> None:
    folder = RunFolder.create(tmp_path, "one", settings_of(study))
    folder.finish("arm", 1, finished())
    (tmp_path / "one" / "seeds" / "arm" / "seed-1.json").write_bytes(content)

    with pytest.raises(InputError, match=r"seed-1\.json: is damaged; delete it"):
        folder.finished("arm", 1)


def test_a_kept_model_can_be_used_without_this_package(study: Study, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "one", settings_of(study))
    state = TrainingState(
        run_id="run",
        study_digest=study.digest,
        round=4,
        logged=0,
        tail_count=2,
        parameters=np.zeros(4),
        first=np.zeros(4),
        second=np.zeros(4),
        tail=np.array([2.0, 4.0, 6.0, 8.0]),
        center=np.array([0.1, 0.2, 0.3]),
        scale=np.ones(3),
    )
    for _ in range(2):
        folder.keep_model("arm", 3, state, study)

    with np.load(tmp_path / "one" / "models" / "arm-seed-3.npz", allow_pickle=False) as model:
        assert model["parameters"].tolist() == [1.0, 2.0, 3.0, 4.0]
        assert model["center"].tolist() == [0.1, 0.2, 0.3]
        assert model["columns"].tolist() == ["x0", "x1", "x2"]
        assert float(model["feature_clip"]) == study.scaling.feature_clip
    assert files_of(tmp_path / "one") == {SETTINGS, "models/arm-seed-3.npz"}


def test_trainings_do_not_share_checkpoints(study: Study, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "one", settings_of(study))
    state = TrainingState(
        run_id="run",
        study_digest=study.digest,
        round=0,
        logged=0,
        tail_count=0,
        **{name: np.zeros(4) for name in ("parameters", "first", "second", "tail")},
        center=np.zeros(3),
        scale=np.ones(3),
    )
    folder.checkpoints("arm", 0, "all").save(state, [])

    assert folder.checkpoints("arm", 0, "all").load() is not None
    for place in (("arm", 1, "all"), ("arm", 0, "north"), ("other", 0, "all")):
        assert folder.checkpoints(*place).load() is None
