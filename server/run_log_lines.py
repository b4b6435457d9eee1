"""The lines of a run's log, and the chain that holds them together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter

from fedward.common.ledger.chain import canonical
from fedward.common.protocol.fields import Digest, PublicKey, RunId, Signature, Wire
from fedward.common.protocol.queries import Heads
from fedward.common.secure_sum.roster import SignedRoster
from fedward.server.release_log import ReleaseRecord

LOG_FORMAT: Final = "fedward-log-1"


class RunStarted(Wire):
    """The first line: which run of which study, over which sites, by what software."""

    kind: Literal["run"] = "run"
    format: Literal["fedward-log-1"] = LOG_FORMAT
    run_id: RunId
    study_digest: Digest
    study: dict[str, Any]
    signed_roster: SignedRoster
    software: str = Field(max_length=100)


class ReleaseAsked(Wire):
    """One site in one attempt at a sum."""

    kind: Literal["release"] = "release"
    record: ReleaseRecord = Field(strict=False)


class HeadsKnown(Wire):
    """The newest head of each site's ledger that the coordinator has seen, sorted by site."""

    kind: Literal["heads"] = "heads"
    heads: Heads


class LogSigned(Wire):
    """The last line: the signature of the digest of the line before it.

    Both are None of a coordinator whose federation gave it no key.
    """

    kind: Literal["signed"] = "signed"
    coordinator_key: PublicKey | None
    signature: Signature | None


LogBody = Annotated[RunStarted | ReleaseAsked | HeadsKnown | LogSigned, Field(discriminator="kind")]
LOG_BODY: TypeAdapter[LogBody] = TypeAdapter(LogBody)


def log_lines(bodies: Iterable[LogBody], *, after: str) -> Iterator[tuple[str, str]]:
    """Each body's line, without its end, and its digest; ``after`` is the digest before."""
    digest = after
    for body in bodies:
        document = body.model_dump(mode="json")
        digest = chained_digest(digest, document)
        yield canonical({"body": document, "digest": digest}), digest


def chained_digest(before: str, body: Any) -> str:
    """SHA-256 (hex) of the digest before, as bytes, and the canonical text of a line's body."""
    return hashlib.sha256(bytes.fromhex(before) + canonical(body).encode()).hexdigest()
