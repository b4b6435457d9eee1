"""What an audit of the books looks at: ledgers, roster, log and study, not yet believed."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fedward.client.vault.ledger_file import is_database, raw_of_file
from fedward.common.errors import InputError
from fedward.common.ledger.export import RawLedger, raw_of_export
from fedward.common.secure_sum.roster import SignedRoster
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study

MAX_DOCUMENT_BYTES = 64 * 2**20
BOOKS = "books"
"""The folder of a run in which a simulation keeps its books."""

_ENTRY = '{"entry":{'
"""What the line of an entry begins with."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class LedgerEvidence:
    """One ledger as raw text; ``is_export`` of an export, which must end with its head."""

    raw: RawLedger
    is_export: bool
    cut_off: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that was handed in. ``digests`` are the SHA-256 of each file by its name.

    ``own_key`` is where the federation's key was found if nobody gave it: in the very folder that
    it is to vouch for. ``log`` is the path of the coordinator's log; None if there is none, as for
    roster and study.
    """

    ledgers: tuple[LedgerEvidence, ...]
    signed_roster: SignedRoster | None
    roster_source: str
    federation_key: bytes | None
    own_key: str
    log: Path | None
    study: Study | None
    digests: dict[str, str]


def evidence_of(
    files: Sequence[Path],
    *,
    roster: Path | None = None,
    log: Path | None = None,
    study: str | None = None,
    federation_key: str | None = None,
) -> Evidence:
    """Read everything; a run's folder among ``files`` stands for the books in it.

    ``study`` is a ``study.toml``, a ``study.json`` or the name of a shipped study. What is given by
    name counts before what a folder holds.

    Raises:
        InputError: a file cannot be read, or is not what it should be.
    """
    ledgers: list[Path] = []
    paths = _Paths(roster=roster, log=log, study=study, federation_key=federation_key)
    for file in files:
        if file.is_dir():
            folder = _books_folder(file)
            ledgers += _ledgers_in(folder)
            paths = paths.filled_from(folder)
        else:
            ledgers.append(file)
    if not ledgers:
        raise InputError(
            source=str(files[0]) if files else "ledgers",
            field="",
            problem="holds no ledger",
            fix="name ledgers or their exports, or the folder of a run with books",
        )
    read = {path: path for path in (*ledgers, paths.roster, paths.log) if path is not None}
    digests = {str(path): digest_of(path) for path in read}
    given = paths.study
    if given is not None and Path(given).is_file():
        digests[given] = digest_of(Path(given))
    return Evidence(
        ledgers=tuple(map(read_ledger_text, ledgers)),
        signed_roster=(
            None if paths.roster is None else _document(paths.roster, SignedRoster, "signed roster")
        ),
        roster_source=str(paths.roster or ""),
        federation_key=_key(paths.federation_key),
        own_key=paths.own_key,
        log=paths.log,
        study=None if given is None else _study(given),
        digests=digests,
    )


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file. Raises InputError if it cannot be read, or is a pipe or a device."""
    _check_ordinary(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})", "check the path") from error


@dataclass(frozen=True, kw_only=True)
class _Paths:
    """Where things are."""

    roster: Path | None
    log: Path | None
    study: str | None
    federation_key: str | None
    own_key: str = ""

    def filled_from(self, folder: Path) -> _Paths:
        """What was not named, as the folder has it."""

        def there(name: str) -> Path | None:
            return folder / name if (folder / name).is_file() else None

        key = there("federation.pub")
        study = there("study.json")
        return replace(
            self,
            roster=self.roster or there("roster.json"),
            log=self.log or there("coordinator.jsonl"),
            study=self.study or (str(study) if study else None),
            federation_key=self.federation_key or (_text(key).strip() if key else None),
            own_key=self.own_key or ("" if self.federation_key or not key else str(key)),
        )


def _ledgers_in(folder: Path) -> list[Path]:
    """One ledger, or one export of it, in each site's folder."""
    ledgers = []
    for site in sorted(path for path in (folder / "sites").iterdir() if path.is_dir()):
        found = [*site.glob("ledger.sqlite"), *sorted(site.glob("*.jsonl"))]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise _unusable(
                site,
                f"holds several ledgers of one site ({names})",
                "leave the one to be checked, or name ledgers one by one",
            )
        ledgers += found
    return ledgers


def _books_folder(folder: Path) -> Path:
    for found in (folder / BOOKS, folder):
        if (found / "sites").is_dir():
            return found
    raise _unusable(
        folder, "is a folder without books", "name the folder of a run, or the ledgers themselves"
    )


def read_ledger_text(path: Path) -> LedgerEvidence:
    """A ledger's file, or an export of one. Raises InputError if it is neither."""
    _check_ordinary(path)
    if is_database(path):
        return LedgerEvidence(raw=raw_of_file(path), is_export=False, cut_off=False)
    raw = raw_of_export(path)
    # A line or two that were changed are located; of what has none left there is nothing to locate.
    if not raw.lines or not (raw.head_line or any(one.startswith(_ENTRY) for one in raw.lines)):
        raise _unusable(path, "holds no entry of a ledger", "name a ledger or its export")
    return LedgerEvidence(raw=raw, is_export=True, cut_off=not _ends_a_line(path))


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _study(given: str) -> Study:
    path = Path(given)
    if path.suffix == ".json":
        return _document(path, Study, "study")
    return load_study(find_study(given))


def _document(path: Path, model: type[_Model], what: str) -> _Model:
    text = _text(path)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            source=str(path),
            field=where,
            problem=f"is no {what} ({first['msg']})",
            fix=f"name the file of a {what}",
        ) from error


def _check_ordinary(path: Path) -> None:
    """Refuse what would be waited for, or has no end."""
    try:
        ordinary = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})", "check the path") from error
    if not ordinary:
        raise _unusable(path, "is no file", "name a file that is on disk")


def _text(path: Path) -> str:
    _check_ordinary(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise _unusable(path, "is too large", "check what it is")
        return content.decode()
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})", "check the path") from error
    except UnicodeDecodeError as error:
        raise _unusable(path, "is not UTF-8 text", "check what it is") from error


def _key(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise InputError(
            source="--federation-key",
            field="",
            problem="is no key of 64 hex digits",
            fix="give the federation's public key, as its sites pinned it",
        )
    return key


def _unusable(path: Path, problem: str, fix: str) -> InputError:
    return InputError(source=str(path), field="", problem=problem, fix=fix)
