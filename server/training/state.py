"""The state of a training run between two rounds, and its lossless frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame

FORMAT: Literal["fedward-training-state-1"] = "fedward-training-state-1"


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
        header = {name: getattr(self, name) for name in _Header.model_fields if name != "format"}
        body = _Header(format=FORMAT, **header).model_dump()
        return encode_frame(body, {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def from_frame(cls, frame: bytes) -> Self:
        """Decode.

        Raises:
            FrameError: not a training state, or a damaged one.
        """
        body, arrays = decode_frame(frame)
        try:
            header = _Header.model_validate(body)
        except ValidationError as error:
            raise FrameError("not a fedward training state") from error
        if set(arrays) != set(_ARRAYS) or any(
            array.dtype != np.float64 or array.ndim != 1 for array in arrays.values()
        ):
            raise FrameError("not the arrays of a fedward training state")
        if any(len({arrays[name].size for name in group}) != 1 for group in (_VECTORS, _SCALER)):
            raise FrameError("a training state whose arrays do not fit together")
        fields: dict[str, Any] = header.model_dump(exclude={"format"}) | arrays
        return cls(**fields)


class _Header(BaseModel):
    """What a state's frame holds beside its arrays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["fedward-training-state-1"]
    run_id: str
    study_digest: str
    round: int = Field(ge=0)
    logged: int = Field(ge=0)
    tail_count: int = Field(ge=0)


_VECTORS = ("parameters", "first", "second", "tail")
_SCALER = ("center", "scale")
_ARRAYS = (*_VECTORS, *_SCALER)
