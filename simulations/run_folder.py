"""A run's folder: its settings, the trainings under way, and the seeds that are done."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Study
from fedward.server.training.checkpoints import CheckpointFolder
from fedward.server.training.state import TrainingState
from fedward.simulations.results import (
    ChargedEvaluation,
    CrossCheck,
    RoundPoint,
    SeedResult,
    Traffic,
)

SETTINGS = "experiment.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ExperimentSettings(BaseModel):
    """What a run was asked to do; enough to continue it.

    ``data_digest`` names the hospitals' exact patients, so that a run is never continued on other
    data than it began with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedward-run-2"] = "fedward-run-2"
    study: Study
    study_source: str
    data_folder: str | None
    sites: int | None
    data_digest: str
    epsilons: tuple[float, ...]
    seeds: tuple[int, ...]
    insecure_noise_seed: int | None
    command: str
    started: str
    notes: tuple[str, ...] = ()
    """What is particular to this run's data, for the report."""
    masked: bool = True
    drop_out: float = 0.0
    transcript: bool = False


class FinishedSeed(BaseModel):
    """One seed of one arm, complete: what the report needs of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: SeedResult
    rounds: list[RoundPoint]
    target: list[float]
    probability: list[float]
    epsilon: float | None
    epsilon_alone: float | None
    cross_check: CrossCheck | None
    masked: bool = False
    """Whether every sum over several hospitals of every training was masked."""
    traffic: Traffic | None = None
    charged: ChargedEvaluation | None = None
    notes: list[str] = []
    """What the coordinator had to say, such as which sum no budget was left for."""

    @property
    def predictions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Outcomes and predicted probabilities as arrays."""
        return np.array(self.target), np.array(self.probability)


class RunFolder:
    """``runs/<name>``: refuses to be mixed with another run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, name: str, settings: ExperimentSettings) -> Self:
        """Make the folder of a new run.

        Raises:
            InputError: the name is not a plain folder name, a folder of that name exists, or none
                can be made there.
        """
        check_new_run(root, name)
        path = root / name
        folder = cls(path)
        try:
            root.mkdir(parents=True, exist_ok=True)
            # It will hold outcomes and predictions of single patients.
            path.mkdir(mode=0o700)
            replace_file(path / SETTINGS, settings.model_dump_json(indent=1).encode())
        except OSError as error:
            raise InputError(
                source=str(path),
                field="",
                problem=f"cannot be made: {error.strerror}",
                fix="choose another --runs folder",
            ) from error
        return folder

    @classmethod
    def open(cls, path: Path) -> tuple[Self, ExperimentSettings]:
        """Open the folder of an interrupted run.

        Raises:
            InputError: there is no run in it, or its settings cannot be read.
        """
        settings_path = path / SETTINGS
        try:
            settings = ExperimentSettings.model_validate_json(settings_path.read_bytes())
        except OSError as error:
            raise InputError(
                source=str(path),
                field="",
                problem=f"holds no run to resume: {SETTINGS} cannot be read",
                fix="name the folder that an interrupted `fedward simulate` told you",
            ) from error
        except ValidationError as error:
            raise InputError(
                source=str(settings_path),
                field="",
                problem="is damaged or was written by another version",
                fix="start the run anew under another --name",
            ) from error
        return cls(path), settings

    def checkpoints(self, arm: str, seed: int, part: str) -> CheckpointFolder:
        """Return where one training is kept between rounds."""
        return CheckpointFolder(self._points_path(arm, seed, part).parent)

    def forget_training(self, arm: str, seed: int, part: str) -> None:
        """Remove what is kept of one training, which then begins anew."""
        shutil.rmtree(self._points_path(arm, seed, part).parent, ignore_errors=True)

    def add_point(self, arm: str, seed: int, part: str, point: RoundPoint) -> None:
        """Append one round's evaluation to its training."""
        path = self._points_path(arm, seed, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            # The newline goes first, so that a line torn by a kill spoils no other.
            file.write(f"\n{point.model_dump_json()}")

    def points(self, arm: str, seed: int, part: str) -> list[RoundPoint]:
        """Return a training's evaluations by round; a round repeated after a kill counts once."""
        text = self._points_path(arm, seed, part).read_text("utf-8", errors="replace")
        points = [point for line in text.splitlines() if (point := _point_of(line))]
        return sorted({point.round: point for point in points}.values(), key=lambda p: p.round)

    def add_seconds(self, arm: str, seed: int, part: str, seconds: float) -> None:
        """Note how long a round took, so that a resumed training knows its whole time."""
        path = self._seconds_path(arm, seed, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            # A fixed width tells a line torn by a kill from a whole one.
            file.write(f"{seconds:015.6f}\n")

    def seconds(self, arm: str, seed: int, part: str) -> float:
        """Return how long a training's rounds took, over all processes that ran it."""
        text = self._seconds_path(arm, seed, part).read_text("utf-8")
        return sum(float(line) for line in text.splitlines() if len(line) == 15)

    def finished(self, arm: str, seed: int) -> FinishedSeed | None:
        """Return a seed that is done, or None."""
        path = self._seed_path(arm, seed)
        if not path.exists():
            return None
        try:
            return FinishedSeed.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(
                source=str(path),
                field="",
                problem="is damaged",
                fix="delete it to train this seed again",
            ) from error

    def finish(self, arm: str, seed: int, finished: FinishedSeed) -> None:
        """Keep a seed that is done."""
        path = self._seed_path(arm, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, finished.model_dump_json().encode())

    def keep_model(self, arm: str, seed: int, state: TrainingState, study: Study) -> None:
        """Write the trained model as plain arrays: ``models/<arm>-seed-<seed>.npz``."""
        path = self.path / "models" / f"{arm}-seed-{seed}.npz"
        path.parent.mkdir(exist_ok=True)
        arrays = io.BytesIO()
        np.savez(
            arrays,
            parameters=state.model_parameters,
            center=state.center,
            scale=state.scale,
            feature_clip=study.scaling.feature_clip,
            columns=np.array([column.name for column in design_columns(study)]),
        )
        replace_file(path, arrays.getvalue())

    def _seconds_path(self, arm: str, seed: int, part: str) -> Path:
        return self._points_path(arm, seed, part).with_name("seconds.txt")

    def _points_path(self, arm: str, seed: int, part: str) -> Path:
        return self.path / "trainings" / arm / f"seed-{seed}" / part / "rounds.jsonl"

    def _seed_path(self, arm: str, seed: int) -> Path:
        return self.path / "seeds" / arm / f"seed-{seed}.json"


def check_new_run(root: Path, name: str) -> None:
    """Refuse a name that is no plain folder name, or that is taken; writes nothing."""
    if not NAME.fullmatch(name):
        raise InputError(
            source="--name",
            field=repr(name),
            problem="is no plain folder name",
            fix="use letters, digits, '.', '_' and '-', at most 100",
        )
    if (root / name).exists():
        raise InputError(
            source=str(root / name),
            field="",
            problem="exists already",
            fix="choose another --name, or continue that run with --resume",
        )


def _point_of(line: str) -> RoundPoint | None:
    """One line's round; None for an empty or torn line, whose round was evaluated again."""
    try:
        return RoundPoint.model_validate_json(line)
    except ValidationError:
        return None
