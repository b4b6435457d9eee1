"""A transcript: every message between coordinator and hospitals, field by field, to be read.

One JSON line a message. Arrays are told by name, type, shape, digest and their first numbers; all
else stands as it crossed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fedward.common.protocol.envelope import FIELD, RECORD
from fedward.common.protocol.frame import FrameError, decode_frame
from fedward.common.protocol.sealed import open_sealed

TRANSCRIPT_NAME: Final = "transcript.jsonl"
FIRST_ELEMENTS = 4
Direction = Literal["to site", "to coordinator"]


class TranscriptArray(BaseModel):
    """An array of a message: what it is and how it begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    shape: list[int]
    bytes: int
    sha256: str
    first: list[int | float]


class TranscriptLine(BaseModel):
    """One message.

    ``bytes`` and ``sha256`` are of the whole frame with its signature. ``fields`` is the frame's
    body, each field as it crossed. ``site`` is None until the node has told its name. ``error`` is
    what came in place of a frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: Direction
    node: int
    site: str | None
    kind: str
    bytes: int
    sha256: str
    fields: dict[str, Any]
    arrays: list[TranscriptArray]
    signature: str | None = None
    """Of a site under its answer, Ed25519 in hex."""
    error: str | None = None


class Transcript:
    """Appends every message to a file; a watcher of the coordinator's grid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._site_of: dict[int, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            # A kill may have torn the last line; it must not spoil the next.
            self._append("")

    def sent(self, node: int, message: Message) -> None:
        """Note a query."""
        frame = frame_of(message)
        self._append(_line("to site", node, self._site_of.get(node), frame, signature=None))

    def received(self, node: int, reply: Message) -> None:
        """Note an answer, or what came in its place."""
        if reply.has_error():
            self._append(_error_line(node, self._site_of.get(node), str(reply.error.reason)))
            return
        try:
            sealed = open_sealed(frame_of(reply))
            body, _ = decode_frame(bytes(sealed.frame))
        except FrameError as error:
            self._append(_error_line(node, self._site_of.get(node), f"malformed: {error}"))
            return
        self._site_of[node] = str(body.get("site"))
        self._append(
            _line(
                "to coordinator",
                node,
                self._site_of[node],
                bytes(sealed.frame),
                signature=sealed.signature,
            )
        )

    def _append(self, line: TranscriptLine | str) -> None:
        text = line if isinstance(line, str) else line.model_dump_json()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


def read_transcript(path: Path) -> list[TranscriptLine]:
    """Read a transcript; a line that a kill tore is left out."""
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            lines.append(TranscriptLine.model_validate_json(text))
        except ValueError:
            continue
    return lines


def frame_of(message: Message) -> bytes:
    """The one thing that a message may hold; ValueError where it holds anything else."""
    content = message.content
    records = {name: dict(record) for name, record in content.config_records.items()}
    frame = records.get(RECORD, {}).get(FIELD)
    if len(content) != 1 or len(records.get(RECORD, {})) != 1 or not isinstance(frame, bytes):
        raise ValueError("a message holds something else than one frame")
    return frame


def _line(
    direction: Direction, node: int, site: str | None, frame: bytes, *, signature: bytes | None
) -> TranscriptLine:
    body, arrays = decode_frame(frame)
    whole = frame + (signature or b"")
    return TranscriptLine(
        direction=direction,
        node=node,
        site=site,
        kind=str(body.get("kind")),
        bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        fields=body,
        arrays=list(_arrays(arrays.items())),
        signature=None if signature is None else signature.hex(),
    )


def _error_line(node: int, site: str | None, reason: str) -> TranscriptLine:
    return TranscriptLine(
        direction="to coordinator",
        node=node,
        site=site,
        kind="error",
        bytes=0,
        sha256=hashlib.sha256(b"").hexdigest(),
        fields={},
        arrays=[],
        error=reason,
    )


def _arrays(arrays: Iterable[tuple[str, NDArray[Any]]]) -> Iterable[TranscriptArray]:
    for name, array in arrays:
        content = np.ascontiguousarray(array).tobytes()
        yield TranscriptArray(
            name=name,
            dtype=array.dtype.name,
            shape=list(array.shape),
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            first=array.ravel()[:FIRST_ELEMENTS].tolist(),
        )
