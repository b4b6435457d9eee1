"""The closed list of queries: all that a coordinator can ask of a hospital.

Every query but ``open_session`` and ``close_session`` asks for one noised, masked sum over
patients. What a query may carry is public: the run, the study's digest, the roster, the model's
current parameters, how far each site's ledger was seen. Clip, sigma, sampling rate and divisor are
not in it: a vault takes them from the study that its site approved.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, field_validator

from fedward.common.ledger.heads import KnownHead
from fedward.common.protocol.fields import (
    MAX_SITES,
    PROTOCOL,
    Digest,
    ProtocolNumber,
    RunId,
    SessionNumber,
    SiteName,
    Wire,
)
from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame
from fedward.common.secure_sum.roster import SignedRoster
from fedward.common.secure_sum.session import SessionOffer

_Valid = TypeVar("_Valid")


def _sorted_by_head(heads: tuple[KnownHead, ...]) -> tuple[KnownHead, ...]:
    names = [known.head.site for known in heads]
    if names != sorted(set(names)):
        raise ValueError("heads must be sorted by site and name each site once")
    return heads


Heads = Annotated[
    tuple[KnownHead, ...],
    Field(max_length=MAX_SITES, strict=False),
    AfterValidator(_sorted_by_head),
]
"""The newest head of each site's ledger that the coordinator knows, sorted by site."""


class _Query(Wire):
    protocol: ProtocolNumber = PROTOCOL
    run_id: RunId
    study_digest: Digest


class OpenSessionQuery(_Query):
    """Asks which site answers and for its key of a new session. Touches no record.

    ``session`` counts a run's sessions from 1; opening a number again replaces its key. A site
    whose ledger does not hold its head among ``heads`` was given back an old one, and refuses.
    """

    kind: Literal["open_session"] = "open_session"
    session: SessionNumber
    signed_roster: SignedRoster
    heads: Heads = ()


class CloseSessionQuery(_Query):
    """Tells the sites that the run asks for nothing more; each strikes its study's balance.

    Touches no record. ``session`` is the last one that the site opened, and ``heads`` are as in
    :class:`OpenSessionQuery`.
    """

    kind: Literal["close_session"] = "close_session"
    session: SessionNumber
    heads: Heads = ()


class SumQuery(_Query):
    """What every query for a sum has: its place in the run and who takes part.

    ``roster`` holds this round's sites, sorted, so that one set of sites has one digest; all of
    them opened ``session``. ``attempt`` counts from 1; a round asked again after a drop-out is the
    next attempt, with fresh batches, noise and masks. ``offers`` are all keys of the session, and
    empty once a sum of the session is complete.
    """

    session: SessionNumber
    roster: tuple[SiteName, ...] = Field(min_length=1, max_length=MAX_SITES, strict=False)
    round: int = Field(ge=0, le=2 * 10**6)
    attempt: int = Field(ge=1, le=10**6)
    offers: tuple[SessionOffer, ...] = Field(default=(), max_length=MAX_SITES, strict=False)

    @field_validator("roster")
    @classmethod
    def _sorted_and_unique(cls, roster: tuple[str, ...]) -> tuple[str, ...]:
        if list(roster) != sorted(set(roster)):
            raise ValueError("the roster must be sorted and name each site once")
        return roster

    @field_validator("offers")
    @classmethod
    def _sorted_by_site(cls, offers: tuple[SessionOffer, ...]) -> tuple[SessionOffer, ...]:
        names = [offer.site for offer in offers]
        if names != sorted(set(names)):
            raise ValueError("offers must be sorted by site and name each site once")
        return offers


class MomentsQuery(SumQuery):
    """Asks for the sum of the patients' bounded first and second moments. No arrays."""

    kind: Literal["moments"] = "moments"


class CountsQuery(SumQuery):
    """Asks for the number of training patients of each outcome. No arrays."""

    kind: Literal["counts"] = "counts"


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


class EvaluationQuery(SumQuery):
    """Asks how the held-out patients of one group of sites are predicted, as a sum over them.

    Confusion counts, a histogram of scores by outcome, and squared errors. ``group`` is one of the
    study's groups, or "all" where it has none. Arrays as for :class:`GradientSumQuery`.
    """

    kind: Literal["evaluation"] = "evaluation"
    group: SiteName = "all"


class SiteEvaluationQuery(SumQuery):
    """Asks for the same as a release of each site by itself, with all noise and no mask.

    Answered only if the study asks for it and the site's policy allows it. Arrays as for
    :class:`GradientSumQuery`.
    """

    kind: Literal["site_evaluation"] = "site_evaluation"


AnySumQuery = (
    MomentsQuery
    | CountsQuery
    | GradientSumQuery
    | LocalUpdateQuery
    | EvaluationQuery
    | SiteEvaluationQuery
)
Query = Annotated[OpenSessionQuery | CloseSessionQuery | AnySumQuery, Field(discriminator="kind")]
_AT_A_MODEL = frozenset({"parameters", "center", "scale"})
ARRAYS_OF: dict[str, frozenset[str]] = {
    "open_session": frozenset(),
    "close_session": frozenset(),
    "moments": frozenset(),
    "counts": frozenset(),
    "gradient_sum": _AT_A_MODEL,
    "local_update": _AT_A_MODEL,
    "evaluation": _AT_A_MODEL,
    "site_evaluation": _AT_A_MODEL,
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
