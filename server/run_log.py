"""The log of a run, signed by its coordinator: what it asked of whom, and what it was given.

An audit holds it against the sites' ledgers. It is JSON lines, each the canonical text of
``{"body": .., "digest": ..}``, where the digest is the SHA-256 of the digest before (as bytes;
zeros at first) and of the body's canonical text. So a line that was changed, left out or moved is
found, and where. First comes the run itself, then a line for each release that was asked for, then
the last known heads of the sites' ledgers, and last the coordinator's signature under all of it.

What a line says is the coordinator's word. That it asked for nothing beyond, the ledgers say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError
from fedward.common.ledger.chain import canonical
from fedward.common.ledger.entries import NOTHING_BEFORE
from fedward.common.ledger.heads import KnownHead
from fedward.common.secure_sum.roster import SignedRoster
from fedward.common.secure_sum.signatures import SiteIdentity, verify
from fedward.common.study.definition import Study
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_log_lines import (
    LOG_BODY,
    HeadsKnown,
    LogBody,
    LogSigned,
    ReleaseAsked,
    RunStarted,
    chained_digest,
    log_lines,
)

MAX_LINE_BYTES = 16 * 2**20
"""The heads of the largest roster take about half of it."""
_PURPOSE = "run-log"


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """A log whose chain holds. Its signature is not checked before :meth:`is_signed_by`.

    ``records[i]`` is on line i + 2, counted from 1.
    """

    source: str
    started: RunStarted
    study: Study
    records: tuple[ReleaseRecord, ...]
    heads: tuple[KnownHead, ...]
    closing: LogSigned
    signed_digest: str

    def is_signed_by(self, coordinator_key: bytes) -> bool:
        """Whether the coordinator with this key (32 bytes) signed the whole log."""
        signature = self.closing.signature
        return signature is not None and verify(
            coordinator_key,
            purpose=_PURPOSE,
            message=bytes.fromhex(self.signed_digest),
            signature=bytes.fromhex(signature),
        )


def write_run_log(
    path: Path,
    *,
    run_id: str,
    study: Study,
    signed_roster: SignedRoster,
    records: Iterable[ReleaseRecord],
    heads: Iterable[KnownHead],
    coordinator: SiteIdentity | None,
) -> None:
    """Write the log of a run in one step; None as coordinator leaves it without a signature."""
    started = RunStarted(
        run_id=run_id,
        study_digest=study.digest,
        study=study.model_dump(mode="json"),
        signed_roster=signed_roster,
        software=f"fedward {version('fedward')}",
    )
    known = HeadsKnown(heads=tuple(sorted(heads, key=lambda known: known.head.site)))
    asked = (ReleaseAsked(record=record) for record in records)
    lines = list(log_lines([started, *asked, known], after=NOTHING_BEFORE))
    digest = lines[-1][1]
    signature = coordinator.sign(_PURPOSE, bytes.fromhex(digest)).hex() if coordinator else None
    key = coordinator.public_key.hex() if coordinator else None
    lines += log_lines([LogSigned(coordinator_key=key, signature=signature)], after=digest)
    replace_file(path, "".join(f"{text}\n" for text, _ in lines).encode())


def read_run_log(path: Path) -> RunLog:
    """Read a log and check its chain, line by line.

    Raises:
        InputError: the file cannot be read, or is not what a coordinator wrote; ``field`` is
            "line N", counted from 1, of the first line that was changed, moved or is missing.
    """
    reader = _Reader(str(path))
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                reader.take(line)
    except OSError as error:
        raise InputError(
            source=str(path),
            field="",
            problem=f"cannot be read ({error.strerror})",
            fix="name the log that a coordinator wrote",
        ) from error
    return reader.log()


class _Reader:
    """Takes the lines of a log in order."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._number = 0
        self._digest = self._digest_before = NOTHING_BEFORE
        self._started: RunStarted | None = None
        self._study: Study | None = None
        self._records: list[ReleaseRecord] = []
        self._heads: HeadsKnown | None = None
        self._closing: LogSigned | None = None

    def take(self, line: bytes) -> None:
        """Check one line and keep what it says."""
        self._number += 1
        if not line.endswith(b"\n"):
            raise self._wrong("is cut off or too long")
        body = self._chained(line[:-1])
        if (self._started is None) != isinstance(body, RunStarted) or self._closing:
            raise self._wrong(f"is out of place (kind {body.kind!r})")
        if self._heads is not None and not isinstance(body, LogSigned):
            raise self._wrong(f"is out of place (kind {body.kind!r})")
        if isinstance(body, RunStarted):
            self._started, self._study = body, self._study_of(body)
        elif isinstance(body, ReleaseAsked):
            self._records.append(body.record)
        elif isinstance(body, HeadsKnown):
            self._heads = body
        else:
            if self._heads is None:
                raise self._wrong("is out of place (kind 'signed')")
            self._closing = body

    def log(self) -> RunLog:
        """The whole log, once its last line was taken."""
        if not (self._started and self._study and self._heads and self._closing):
            self._number += 1
            raise self._wrong("is missing: the log does not go on to its signature")
        return RunLog(
            source=self._source,
            started=self._started,
            study=self._study,
            records=tuple(self._records),
            heads=self._heads.heads,
            closing=self._closing,
            signed_digest=self._digest_before,
        )

    def _chained(self, line: bytes) -> LogBody:
        try:
            found = json.loads(line)
            if not isinstance(found, dict) or canonical(found).encode() != line:
                raise ValueError
            body, digest = found.pop("body"), found.pop("digest")
        except (ValueError, KeyError, RecursionError):
            raise self._wrong("is not a line in its canonical form") from None
        if found or digest != chained_digest(self._digest, body):
            raise self._wrong("does not follow from the lines before it; it was changed or moved")
        self._digest_before, self._digest = self._digest, digest
        try:
            return LOG_BODY.validate_python(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self._wrong(f"says what no log says ({where}: {first['msg']})") from error

    def _study_of(self, started: RunStarted) -> Study:
        try:
            study = Study.model_validate_json(json.dumps(started.study))
        except ValidationError as error:
            raise self._wrong("holds no study of this version") from error
        if study.digest != started.study_digest:
            raise self._wrong("holds another study than the one that it names")
        return study

    def _wrong(self, problem: str) -> InputError:
        return InputError(
            source=self._source,
            field=f"line {self._number}",
            problem=problem,
            fix="ask the coordinator for the log as it was written",
        )
