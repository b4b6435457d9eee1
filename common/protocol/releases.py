"""What a vault may answer: a noised, masked sum, a key, its ledger's head, or a typed refusal."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from fedward.common.ledger.heads import LedgerHead
from fedward.common.protocol.fields import (
    PROTOCOL,
    Digest,
    ProtocolNumber,
    RunId,
    SiteName,
    Wire,
)
from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame_parts
from fedward.common.protocol.queries import validated
from fedward.common.secure_sum.session import SessionOffer

Multiplier = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RefusalReason(StrEnum):
    """Why a vault did not answer.

    Each is decided before any record is read, but for ``internal`` (a fault of the vault's own),
    ``privacy`` where a sum turns out not to fit its ring, and ``ledger_unavailable`` where a sum
    could not be written down; their messages are fixed.
    """

    MALFORMED = "malformed"
    STUDY_NOT_APPROVED = "study_not_approved"
    ROSTER_SIGNATURE = "roster_signature"
    UNKNOWN_SITE = "unknown_site"
    NOT_IN_ROSTER = "not_in_roster"
    ROSTER_TOO_SMALL = "roster_too_small"
    SESSION_KEYS = "session_keys"
    UNKNOWN_SESSION = "unknown_session"
    ALREADY_ANSWERED = "already_answered"
    BUDGET_EXCEEDED = "budget_exceeded"
    NOT_IN_STUDY = "not_in_study"
    NOT_ALLOWED = "not_allowed"
    WRONG_SHAPE = "wrong_shape"
    PRIVACY = "privacy"
    LEDGER_ROLLED_BACK = "ledger_rolled_back"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    INTERNAL = "internal"


class ExecutedNoise(Wire):
    """The noise that was executed for one release, as public constants of the study.

    ``noise_multiplier`` is the guaranteed multiplier of the whole sum, ``share_multiplier`` that of
    this site's share alone; ``count`` steps were taken at Poisson rate ``sampling_rate``.
    """

    noise_multiplier: Multiplier
    share_multiplier: Multiplier
    sampling_rate: float = Field(gt=0, le=1)
    count: int = Field(ge=1)


class SessionOpened(Wire):
    """A site's answer to ``open_session``: its signed key of the session, for the other sites.

    ``head`` is that of its ledger, for the coordinator; None of a simulated ledger without one.
    """

    kind: Literal["session_opened"] = "session_opened"
    protocol: ProtocolNumber = PROTOCOL
    site: SiteName
    query_digest: Digest
    offer: SessionOffer
    head: LedgerHead | None = None


class SessionClosed(Wire):
    """A site's answer to ``close_session``: the head of its ledger once the balance is struck."""

    kind: Literal["session_closed"] = "session_closed"
    protocol: ProtocolNumber = PROTOCOL
    site: SiteName
    query_digest: Digest
    head: LedgerHead | None = None


class Refusal(Wire):
    """A site's typed refusal; ``message`` is one sentence and holds nothing about patients."""

    kind: Literal["refusal"] = "refusal"
    protocol: ProtocolNumber = PROTOCOL
    site: SiteName
    query_digest: Digest
    reason: RefusalReason = Field(strict=False)
    message: str = Field(max_length=1000)


class SumRelease(Wire):
    """One site's summand. The array ``total`` is ``[length]`` uint64 in the ring Z/2^64.

    Its unit is ``2**-scale_bits``.
    ``executed`` is None only in a simulation's baseline without privacy; ``masked`` says whether
    pairwise masks were added (without them the coordinator sees each site's noised summand).
    ``ledger`` is the head of the site's ledger as it ended with the entry that reserved this
    release; None where the ledger has no chain.
    """

    kind: Literal["sum"] = "sum"
    protocol: ProtocolNumber = PROTOCOL
    site: SiteName
    run_id: RunId
    study_digest: Digest
    query_digest: Digest
    round: int = Field(ge=0)
    attempt: int = Field(ge=1)
    executed: ExecutedNoise | None
    masked: bool
    scale_bits: int = Field(ge=0, le=62)
    ledger: LedgerHead | None = None


Answer = Annotated[
    SessionOpened | SessionClosed | Refusal | SumRelease, Field(discriminator="kind")
]
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


def encode_answer(answer: Answer, total: NDArray[np.uint64] | None = None) -> bytes:
    """Frame an answer; ``total`` goes with a :class:`SumRelease` and with nothing else."""
    return b"".join(encode_answer_parts(answer, total))


def encode_answer_parts(
    answer: Answer, total: NDArray[np.uint64] | None = None
) -> list[bytes | memoryview]:
    """The frame of :func:`encode_answer` in parts, the last of which is a view of ``total``."""
    if (total is not None) != isinstance(answer, SumRelease):
        raise FrameError("a sum release carries exactly the array 'total', other answers none")
    arrays = {} if total is None else {"total": total}
    return encode_frame_parts(answer.model_dump(mode="json"), arrays)


def decode_answer(frame: bytes | memoryview) -> tuple[Answer, NDArray[np.uint64] | None]:
    """Parse and validate an answer.

    Raises:
        FrameError: malformed bytes, unknown fields, or arrays that do not go with the kind.
    """
    body, arrays = decode_frame(frame)
    answer = validated(_ANSWER, body, "answer")
    if set(arrays) != ({"total"} if isinstance(answer, SumRelease) else set()):
        raise FrameError("a sum release carries exactly the array 'total', other answers none")
    total = arrays.get("total")
    if total is not None and (total.dtype != np.uint64 or total.ndim != 1):
        raise FrameError("'total' must be one-dimensional uint64")
    return answer, total
