"""The files of a run that a report is made from, read with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from fedward.audits.report.document import Evidence
from fedward.common.errors import InputError
from fedward.common.ledger.chain import canonical

BOOKS: Final = "books"
AUDIT: Final = "audit"
MOST_BYTES: Final = 1 << 28
_PLAIN: Final = ("study.json", "roster.json", "federation.pub", "coordinator.jsonl")

_Model = TypeVar("_Model", bound=BaseModel)


class RunInputs:
    """A run's folder; whatever is read through it is noted as evidence.

    Raises:
        InputError: it has no books.
    """

    def __init__(self, run: Path) -> None:
        # In full, so that it can be told from other words in what the checks of the books say.
        self.folder = run.resolve()
        self._evidence: dict[str, Evidence] = {}
        if not (self.folder / BOOKS / "study.json").is_file():
            raise InputError(
                source=str(run),
                field="",
                problem=f"holds no {BOOKS}/study.json, so there are no books to report on",
                fix="name the folder of a run of `fedward simulate` with the in-process engine",
            )

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Everything that was read so far, by path."""
        return tuple(self._evidence[path] for path in sorted(self._evidence))

    def content(self, path: str) -> bytes | None:
        """A file's bytes; None if there is none. ``path`` is relative to the folder."""
        try:
            with (self.folder / path).open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unusable(path, f"cannot be read ({error.strerror})") from error
        if len(content) > MOST_BYTES:
            raise self.unusable(path, "is too large")
        self._evidence[path] = Evidence(
            path=path, kind="file", sha256=hashlib.sha256(content).hexdigest()
        )
        return content

    def document(self, path: str, model: type[_Model]) -> _Model | None:
        """A JSON file as this model; None if there is none."""
        content = self.content(path)
        if content is None:
            return None
        try:
            document = model.model_validate_json(content)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(step) for step in found["loc"])
            if found["type"] == "finite_number":
                raise self.unusable(
                    path, "holds a number that is not finite", field=where
                ) from error
            raise self.unusable(
                path, "is damaged or of another version", field=where or "it"
            ) from error
        try:
            canonical(document)
        except ValueError as error:
            raise self.unusable(path, "holds a number that is not finite") from error
        return document

    def note_plain_files(self) -> None:
        """Take the files that the checks of the books read into the evidence."""
        for path in (*(f"{BOOKS}/{name}" for name in _PLAIN), *self._site_files("site.toml")):
            self.content(path)

    def note_ledger(self, source: str, lines: Sequence[str]) -> None:
        """Take a ledger that was read from ``source``, a path in the folder, into the evidence."""
        path = self.relative(source)
        self._evidence[path] = Evidence(
            path=path, kind="ledger", entries=len(lines), sha256=ledger_digest(lines)
        )

    def relative(self, source: str) -> str:
        """A path in the folder, relative to it."""
        return Path(source).relative_to(self.folder).as_posix()

    def _site_files(self, name: str) -> list[str]:
        found = (self.folder / BOOKS / "sites").glob(f"*/{name}")
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def unusable(self, path: str, problem: str, *, field: str = "") -> InputError:
        """The error to raise for a file that holds something else."""
        return InputError(
            source=str(self.folder / path),
            field=field,
            problem=problem,
            fix="make it again with the command that wrote it",
        )


def ledger_digest(lines: Sequence[str]) -> str:
    """SHA-256 (hex) of these lines of a ledger, each with a line feed."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
