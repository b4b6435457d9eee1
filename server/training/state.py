"""The state of a training run between two rounds, and its lossless frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame

FORMAT = "fedward-training-state-1"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """All that the next round needs; a run continued from it equals one never interrupted.

    ``round`` rounds are complete. ``first`` and ``second`` are the server step's moments (momentum
    buffer; Adam's second moment). ``tail`` is the sum of the last ``tail_count`` iterates that the
    study averages. ``center`` and ``scale`` are the scaler that the sites apply. ``logged`` lines
    of the coordinator's log belong to the rounds so far.
    """

    run_id: str
    study_digest: str
    round: int
    logged: int
    tail_count: int
    parameters: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    tail: NDArray[np.float64]
    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def model_parameters(self) -> NDArray[np.float64]:
        """Parameters of the model as of now: the mean of the tail, or the last iterate."""
        return self.tail / self.tail_count if self.tail_count else self.parameters

    def to_frame(self) -> bytes:
        """Encode; equal states give equal bytes."""
        body = {
            "format": FORMAT,
            "run_id": self.run_id,
            "study_digest": self.study_digest,
            "round": self.round,
            "logged": self.logged,
            "tail_count": self.tail_count,
        }
        return encode_frame(body, {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def from_frame(cls, frame: bytes) -> Self:
        """Decode.

        Raises:
            FrameError: not a training state, or a damaged one.
        """
        body, arrays = decode_frame(frame)
        if body.pop("format", None) != FORMAT or set(arrays) != set(_ARRAYS):
            raise FrameError("not a fedward training state")
        if set(body) != {"run_id", "study_digest", "round", "logged", "tail_count"}:
            raise FrameError("a training state with missing or unknown fields")
        fields: dict[str, Any] = body | arrays
        return cls(**fields)


_ARRAYS = ("parameters", "first", "second", "tail", "center", "scale")
