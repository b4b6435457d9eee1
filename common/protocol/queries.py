"""The closed list of queries: all that a coordinator can ask of a hospital.

Every query but ``identify`` asks for one noised, masked sum over patients. What a query may carry
is public: the run, the study's digest, the roster, the model's current parameters. Clip, sigma,
sampling rate and divisor are not in it: a vault takes them from the study that its site approved.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame

PROTOCOL = 1
_Valid = TypeVar("_Valid")
ProtocolNumber = Annotated[int, Field(ge=PROTOCOL, le=PROTOCOL)]
SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Wire(BaseModel):
    """Base of what crosses between coordinator and vault."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Query(Wire):
    protocol: ProtocolNumber = PROTOCOL
    run_id: RunId
    study_digest: Digest


class IdentifyQuery(_Query):
    """Asks which site answers, and whether it approved the study. Touches no record."""

    kind: Literal["identify"] = "identify"


class SumQuery(_Query):
    """What every query for a sum has: its place in the run and who takes part.

    ``roster`` is sorted, so that one set of sites has one digest. ``attempt`` counts from 1; a
    round asked again after a drop-out is the next attempt, with fresh batches, noise and masks.
    """

    roster: tuple[SiteName, ...] = Field(min_length=1, max_length=10_000, strict=False)
    round: int = Field(ge=0, le=10**6)
    attempt: int = Field(ge=1, le=1000)

    @field_validator("roster")
    @classmethod
    def _sorted_and_unique(cls, roster: tuple[str, ...]) -> tuple[str, ...]:
        if list(roster) != sorted(set(roster)):
            raise ValueError("the roster must be sorted and name each site once")
        return roster


class MomentsQuery(SumQuery):
    """Asks for the sum of the patients' bounded first and second moments. No arrays."""

    kind: Literal["moments"] = "moments"


class GradientSumQuery(SumQuery):
    """Asks for one clipped gradient sum at the given parameters.

    Arrays: ``parameters`` [parameters], and ``center`` and ``scale`` [columns] of the scaler.
    """

    kind: Literal["gradient_sum"] = "gradient_sum"


class LocalUpdateQuery(SumQuery):
    """Asks for the change of the parameters after the study's local epochs of DP-SGD.

    Arrays as for :class:`GradientSumQuery`.
    """

    kind: Literal["local_update"] = "local_update"


AnySumQuery = MomentsQuery | GradientSumQuery | LocalUpdateQuery
Query = Annotated[IdentifyQuery | AnySumQuery, Field(discriminator="kind")]
ARRAYS_OF: dict[str, frozenset[str]] = {
    "identify": frozenset(),
    "moments": frozenset(),
    "gradient_sum": frozenset({"parameters", "center", "scale"}),
    "local_update": frozenset({"parameters", "center", "scale"}),
}
_QUERY: TypeAdapter[Query] = TypeAdapter(Query)


def encode_query(query: Query, arrays: dict[str, NDArray[np.float64]]) -> bytes:
    """Frame a query; the same query gives the same bytes."""
    if set(arrays) != ARRAYS_OF[query.kind]:
        raise FrameError(f"{query.kind} carries exactly the arrays {sorted(ARRAYS_OF[query.kind])}")
    return encode_frame(query.model_dump(mode="json"), arrays)


def decode_query(frame: bytes) -> tuple[Query, dict[str, NDArray[np.float64]]]:
    """Parse and validate a query.

    Raises:
        FrameError: malformed bytes, an unknown kind, an unknown or missing field, or arrays other
            than the one-dimensional float64 arrays that the kind carries.
    """
    body, arrays = decode_frame(frame)
    query = validated(_QUERY, body, "query")
    if set(arrays) != ARRAYS_OF[query.kind]:
        raise FrameError(f"{query.kind} carries exactly the arrays {sorted(ARRAYS_OF[query.kind])}")
    for name, array in arrays.items():
        if array.dtype != np.float64 or array.ndim != 1:
            raise FrameError(f"array {name!r} must be one-dimensional float64")
    return query, arrays


def frame_digest(frame: bytes) -> str:
    """SHA-256 (hex) of a frame."""
    return hashlib.sha256(frame).hexdigest()


def validated(adapter: TypeAdapter[_Valid], body: dict[str, Any], what: str) -> _Valid:
    """Validate a frame's body in strict mode, or raise FrameError with the first reason."""
    if "protocol" not in body:
        raise FrameError(f"malformed {what}: protocol: Field required")
    try:
        return adapter.validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FrameError(f"malformed {what}: {where}: {first['msg']}") from error
