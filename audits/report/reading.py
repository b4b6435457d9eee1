"""Reading a report back: as ``report.json``, or out of its page. Nothing in it is believed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from pydantic import ValidationError

from fedward.audits.report.page import taken_apart
from fedward.audits.report.signing import SignedReport
from fedward.common.errors import InputError

MOST_BYTES: Final = 1 << 27


@dataclass(frozen=True, kw_only=True)
class ReadReport:
    """A file's text. ``around`` is the page without its data, None of a ``report.json``.

    ``signed`` is None where the data do not have a report's form; ``problems`` then says why.
    """

    data: str
    around: str | None
    signed: SignedReport | None
    problems: tuple[str, ...] = ()


def read_report(path: Path) -> ReadReport:
    """Read a report of either form.

    Raises:
        InputError: it cannot be read, is too large, or is no report at all.
    """
    text = _text(path)
    around = None
    if text.lstrip()[:1] == "<":
        try:
            around, text = taken_apart(text)
        except ValueError as error:
            raise _no_report(path, str(error)) from error
    try:
        document = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        at = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _no_report(path, "its data are no JSON", field=at) from error
    if not isinstance(document, dict) or "statement" not in document:
        raise _no_report(path, "it holds no auditor's statement")
    try:
        signed = SignedReport.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [f"{_place(one['loc'])}: {one['msg']}" for one in found[:10]]
        return ReadReport(data=text, around=around, signed=None, problems=tuple(problems))
    return ReadReport(data=text, around=around, signed=signed)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            source=str(path),
            field="",
            problem=f"cannot be read: {error.strerror}",
            fix="name a report.html or report.json of `fedward audit report`",
        ) from error
    if len(content) > MOST_BYTES:
        raise _no_report(path, "it is too large")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_report(path, f"byte {error.start} is no UTF-8") from error


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _place(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)[1:]


def _no_report(path: Path, why: str, *, field: str = "") -> InputError:
    return InputError(
        source=str(path),
        field=field,
        problem=f"is no audit report, or was damaged: {why}",
        fix="name a report.html or report.json of `fedward audit report`",
    )
