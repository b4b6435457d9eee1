"""Checkpoints of a training run: the state, replaced atomically, and the log, appended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError
from fedward.common.protocol.frame import FrameError
from fedward.server.release_log import ReleaseRecord
from fedward.server.training.state import TrainingState


class Checkpoints(Protocol):
    """Where a run is kept between sums."""

    def load(self) -> tuple[TrainingState, list[ReleaseRecord]] | None:
        """Return the last state and its log, or None for a new run."""

    def save(self, state: TrainingState, new_records: Sequence[ReleaseRecord]) -> None:
        """Keep the state; ``new_records`` are the log lines since the last save."""


class CheckpointFolder:
    """Checkpoints in a folder: ``state.frame`` and ``releases.jsonl``.

    The log is written before the state that counts its lines, so a kill between the two leaves
    surplus lines, which the next load cuts off. A kill of the process loses at most one round; a
    loss of power may lose more, because nothing is forced to the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state.frame"
        self._log = folder / "releases.jsonl"

    def load(self) -> tuple[TrainingState, list[ReleaseRecord]] | None:
        """Return the last state and exactly its log lines, or None.

        Raises:
            InputError: the files are there but damaged.
        """
        if not self._state.exists():
            self._log.unlink(missing_ok=True)
            return None
        try:
            state = TrainingState.from_frame(self._state.read_bytes())
            lines = self._log.read_text(encoding="utf-8").splitlines()[: state.logged]
            records = [ReleaseRecord.model_validate_json(line) for line in lines]
        except (FrameError, ValueError, OSError, TypeError) as error:
            raise _damaged(self._state) from error
        if len(records) != state.logged:
            raise _damaged(self._log)
        replace_file(self._log, "".join(f"{line}\n" for line in lines).encode())
        return state, records

    def save(self, state: TrainingState, new_records: Sequence[ReleaseRecord]) -> None:
        """Append the log lines, then replace the state."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:
            log.writelines(f"{record.model_dump_json()}\n" for record in new_records)
        replace_file(self._state, state.to_frame())


def _damaged(path: Path) -> InputError:
    return InputError(
        source=str(path),
        field="",
        problem="is damaged",
        fix="delete its folder to train this model again from the start",
    )
