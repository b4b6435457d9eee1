"""TOML files that a user writes: read, validated by a Pydantic model, every problem one sentence."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fedward.common.errors import FedwardError, InputError, InputErrors

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


def suggestion(word: str, known: Iterable[str]) -> str:
    """A fix for a wrong word: the nearest known one, or all of them if none is near."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}"
    listed = ", ".join(repr(name) for name in names[:12])
    return f"use one of {listed}{', ...' if len(names) > 12 else ''}"


def explain(detail: ErrorDetails, *, source: str, model: type[BaseModel]) -> InputError:
    """One Pydantic error as one sentence with the field as the user wrote it."""
    place = _Place.at(model, detail["loc"])
    if detail["type"] == "value_error":
        return _own_message(detail, source, place)
    problem, fix = _words(detail, place)
    return InputError(source=source, field=place.field, problem=problem, fix=fix)


class _Place:
    """Where an error is: its dotted field, without the tags of unions, and what is there."""

    def __init__(self, field: str, parent: Any, annotation: Any) -> None:
        self.field = field
        self.parent = parent
        self.annotation = annotation

    @classmethod
    def at(cls, model: type[BaseModel], location: Sequence[str | int]) -> _Place:
        field, parent, current = "", None, _bare(model)
        for part in location:
            if isinstance(part, int):
                parent, current, field = current, _element(current, part), f"{field}[{part}]"
            elif get_origin(current) in (Union, types.UnionType):
                current = _member(current, part)  # the part is a tag and no key of the file
            else:
                field = f"{field}.{part}" if field else part
                parent, current = current, _field_type(current, part)
        return cls(field, parent, current)

    def join(self, name: str) -> str:
        return f"{self.field}.{name}" if self.field else name


def _bare(annotation: Any) -> Any:
    """The type without ``Annotated`` and without ``| None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _bare(members[0])
    return annotation


def _element(annotation: Any, index: int) -> Any:
    arguments = [item for item in get_args(annotation) if item is not Ellipsis]
    return _bare(arguments[min(index, len(arguments) - 1)]) if arguments else Any


def _fields(annotation: Any) -> dict[str, Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: _bare(field.annotation) for name, field in annotation.model_fields.items()}
    return {}


def _field_type(annotation: Any, name: str) -> Any:
    if get_origin(annotation) is dict:
        return _bare(get_args(annotation)[1])
    return _fields(annotation).get(name, Any)


def _member(union: Any, tag: str) -> Any:
    for member in map(_bare, get_args(union)):
        literals = [t for t in _fields(member).values() if get_origin(t) is Literal]
        if any(tag in get_args(literal) for literal in literals):
            return member
    return Any


def _words(detail: ErrorDetails, place: _Place) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    shown = _shown(detail["input"])
    expected = _expected(place.annotation)
    if kind == "missing":
        return "is missing", f"add it ({expected})"
    if kind == "extra_forbidden":
        return "is not a known key", suggestion(str(detail["loc"][-1]), _fields(place.parent))
    if kind == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return f"has no {tag}", f"add {tag} ({_choices(context['expected_tags'])})"
    if kind == "union_tag_invalid":
        tag = context["discriminator"].strip("'")
        fix = f"make {tag} {_choices(context['expected_tags'])}"
        return f"has {tag} {context['tag']!r}, which is not known", fix
    if kind == "literal_error":
        fix = _choices(context["expected"])
        return f"is {shown}, which is not a known value", f"make it {fix}"
    if kind == "string_pattern_mismatch":
        return f"is {shown}, which does not match {context['pattern']}", "rename it"
    if kind == "finite_number":
        return f"is {shown}, which is not finite", "write a finite number"
    bound = _bound(kind, context)
    if bound is not None:
        return f"is {shown}, but must be {bound[0]}", bound[1]
    length = _length(kind, context)
    if length is not None:
        return length
    if kind.endswith(("_type", "_parsing", "_from_float", "_parsing_size")):
        return f"is {shown}, which is not {expected}", f"write {expected}"
    message = detail["msg"]
    return f"is {shown}, but {message[0].lower()}{message[1:]}", "change it"


def _bound(kind: str, context: Mapping[str, Any]) -> tuple[str, str] | None:
    match kind:
        case "greater_than":
            return f"above {context['gt']:g}", "raise it"
        case "greater_than_equal":
            return f"at least {context['ge']:g}", "raise it"
        case "less_than":
            return f"below {context['lt']:g}", "lower it"
        case "less_than_equal":
            return f"at most {context['le']:g}", "lower it"
    return None


def _length(kind: str, context: Mapping[str, Any]) -> tuple[str, str] | None:
    match kind:
        case "too_short":
            found, least = context["actual_length"], context["min_length"]
            return f"has {found} entries, but needs at least {least}", "add the missing ones"
        case "too_long":
            found, most = context["actual_length"], context["max_length"]
            return f"has {found} entries, but may have at most {most}", "remove some"
        case "string_too_short":
            return f"is shorter than {context['min_length']} characters", "write more"
        case "string_too_long":
            return f"is longer than {context['max_length']} characters", "shorten it"
    return None


def _expected(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in get_args(annotation))
    if origin in (tuple, list):
        return "a list"
    if origin is dict or _fields(annotation) or origin in (Union, types.UnionType):
        return "a table"
    names = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
    return names.get(annotation, "a value")


def _choices(listed: str) -> str:
    words = re.findall(r"'([^']*)'", listed)
    return " or ".join(json.dumps(word) for word in words)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _own_message(detail: ErrorDetails, source: str, place: _Place) -> InputError:
    """A message of the model's own validator: ``[field] problem; fix``."""
    message = detail["msg"].removeprefix("Value error, ")
    problem, _, fix = message.rpartition("; ")
    if not problem:
        problem, fix = fix, "change it"
    first, _, rest = problem.partition(" ")
    if first.split(".")[0] in _fields(place.annotation):
        return InputError(source=source, field=place.join(first), problem=rest, fix=fix)
    return InputError(source=source, field=place.field, problem=problem, fix=fix)


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
