"""The state of a run between two sums, and its lossless frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame

FORMAT: Literal["fedward-training-state-2"] = "fedward-training-state-2"


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptSum:
    """A released sum that is about the finished model or the patients, float64 ``[length]``.

    ``name`` is that of the evaluation's group or site, empty for counts; ``noise_deviation`` the
    standard deviation of the noise in each coordinate.
    """

    kind: SumKind
    name: str
    noise_deviation: float
    total: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """All that the next sum needs; a run continued from it equals one never interrupted.

    ``round`` rounds are complete, and ``lost`` attempts at a training round came to nothing.
    ``first`` and ``second`` are the server step's moments (momentum buffer; Adam's second moment).
    ``tail`` is the sum of the last ``tail_count`` iterates that the study averages. ``center`` and
    ``scale`` are the scaler that the sites apply. ``logged`` lines of the coordinator's log belong
    to the sums so far, and ``session`` is the largest number of a session. After the training,
    ``finished`` names what was asked for, ``sums`` holds what came, and ``notes`` say what did not.
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
    session: int = 0
    lost: int = 0
    finished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sums: tuple[KeptSum, ...] = ()

    @property
    def model_parameters(self) -> NDArray[np.float64]:
        """Parameters of the model as of now: the mean of the tail, or the last iterate."""
        return self.tail / self.tail_count if self.tail_count else self.parameters

    def to_frame(self) -> bytes:
        """Encode; equal states give equal bytes."""
        fields = {name: getattr(self, name) for name in _Header.model_fields if name != "format"}
        fields["sums"] = tuple(
            _SumHeader(
                kind=one.kind,
                name=one.name,
                noise_deviation=one.noise_deviation,
                length=len(one.total),
            )
            for one in self.sums
        )
        body = _Header(format=FORMAT, **fields).model_dump(mode="json")
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return encode_frame(body, arrays | {_SUMS: _joined([one.total for one in self.sums])})

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
        if set(arrays) != {*_ARRAYS, _SUMS} or any(
            array.dtype != np.float64 or array.ndim != 1 for array in arrays.values()
        ):
            raise FrameError("not the arrays of a fedward training state")
        lengths = [one.length for one in header.sums]
        if sum(lengths) != arrays[_SUMS].size or any(
            len({arrays[name].size for name in group}) != 1 for group in (_VECTORS, _SCALER)
        ):
            raise FrameError("a training state whose arrays do not fit together")
        totals = np.split(arrays[_SUMS], np.cumsum(lengths)[:-1]) if lengths else []
        fields: dict[str, Any] = header.model_dump(exclude={"format", "sums"})
        fields |= {name: arrays[name] for name in _ARRAYS}
        fields["sums"] = tuple(
            KeptSum(kind=one.kind, name=one.name, noise_deviation=one.noise_deviation, total=total)
            for one, total in zip(header.sums, totals, strict=True)
        )
        return cls(**fields)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _SumHeader(_Stored):
    kind: SumKind
    name: str
    noise_deviation: float = Field(ge=0, allow_inf_nan=False)
    length: int = Field(ge=1)


class _Header(_Stored):
    """What a state's frame holds beside its arrays."""

    format: Literal["fedward-training-state-2"]
    run_id: str
    study_digest: str
    round: int = Field(ge=0)
    logged: int = Field(ge=0)
    tail_count: int = Field(ge=0)
    session: int = Field(ge=0)
    lost: int = Field(ge=0)
    finished: tuple[str, ...] = Field(strict=False)
    notes: tuple[str, ...] = Field(strict=False)
    sums: tuple[_SumHeader, ...] = Field(strict=False)


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)


_VECTORS = ("parameters", "first", "second", "tail")
_SCALER = ("center", "scale")
_ARRAYS = (*_VECTORS, *_SCALER)
_SUMS = "sums"
