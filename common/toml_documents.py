"""TOML files that a user writes: read and validated; every problem is one sentence."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from fedward.common.errors import FedwardError, InputError, InputErrors
from fedward.common.validation_messages import explain

MAX_BYTES = 10_000_000
MAX_PROBLEMS = 20
"""Problems of one file that are reported at once."""

Document = TypeVar("Document", bound=BaseModel)


def read_toml_text(path: Path, *, kind: str) -> str:
    """Text of a UTF-8 file of at most 10 MB; ``kind`` says what it should be, for the error."""
    source = str(path)

    def refuse(problem: str, fix: str) -> NoReturn:
        raise InputError(source=source, field="", problem=problem, fix=fix) from None

    try:
        if path.is_dir():
            refuse("is a folder", f"name the {kind} inside it")
        if not path.exists():
            near = difflib.get_close_matches(path.name, _neighbours(path), n=1)
            hint = f"did you mean {near[0]!r}" if near else f"give the path of a {kind}"
            refuse("there is no such file", hint)
        if not path.is_file():
            refuse("is not a regular file", f"give the path of a {kind}")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        refuse(f"cannot be read ({reason})", "check the path and its permissions")
    if len(content) > MAX_BYTES:
        refuse(f"is larger than {MAX_BYTES // 10**6} MB", f"give the path of a {kind}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        refuse(f"is not UTF-8 text (line {line})", "save it as UTF-8")


def parse_toml(text: str, *, source: str, model: type[Document]) -> Document:
    """Validate TOML text as ``model``.

    Types are strict: text is not taken for a number, nor a boolean for 1. Raises
    :class:`InputError`, or :class:`InputErrors` where several fields are wrong.
    """
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise _syntax_error(error, source) from None
    except RecursionError:
        raise InputError(
            source=source, field="", problem="is nested too deeply", fix="flatten its arrays"
        ) from None
    try:
        # By way of JSON, because only there does strict mode take arrays for tuples.
        return model.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise_all([explain(detail, source=source, model=model) for detail in details])


def raise_all(problems: Sequence[InputError]) -> NoReturn:
    """Raise one problem as it is and several as :class:`InputErrors`, at most 20 of them."""
    shown = list(problems[:MAX_PROBLEMS])
    if len(problems) > MAX_PROBLEMS:
        shown.append(
            InputError(
                source=shown[0].source,
                field="",
                problem=f"has {len(problems) - MAX_PROBLEMS} more problems",
                fix="mend the first ones and check again",
            )
        )
    error: FedwardError = shown[0] if len(shown) == 1 else InputErrors(shown)
    raise error from None


def _syntax_error(error: ValueError, source: str) -> InputError:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
    if found is None:
        reason, where = str(error), "its values"
    else:
        reason = found[1]
        where = f"line {found[2]}, column {found[3]}" if found[2] else "the end of the file"
    return InputError(
        source=source,
        field="",
        problem=f"is not valid TOML ({reason[0].lower()}{reason[1:]})",
        fix=f"mend {where}",
    )


def _neighbours(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
