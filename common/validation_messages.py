"""One sentence for each way in which a Pydantic model refuses a user's document."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fedward.common.errors import InputError


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


Phrase = tuple[str, str]
"""A problem and its fix."""


def _words(detail: ErrorDetails, place: _Place) -> Phrase:
    kind = detail["type"]
    phrase = _PHRASES.get(kind)
    if phrase is not None:
        return phrase(detail, place)
    shown, expected = _shown(detail["input"]), _expected(place.annotation)
    if kind.endswith(("_type", "_parsing", "_from_float", "_parsing_size")):
        return f"is {shown}, which is not {expected}", f"write {expected}"
    message = detail["msg"]
    return f"is {shown}, but {message[0].lower()}{message[1:]}", "change it"


def _missing(_: ErrorDetails, place: _Place) -> Phrase:
    return "is missing", f"add it ({_expected(place.annotation)})"


def _unknown_key(detail: ErrorDetails, place: _Place) -> Phrase:
    key = str(detail["loc"][-1])
    return "is not a known key", suggestion(key, _fields(place.parent))


def _no_tag(detail: ErrorDetails, place: _Place) -> Phrase:
    tag = detail["ctx"]["discriminator"].strip("'")
    literals = [_fields(_bare(member)).get(tag) for member in get_args(place.annotation)]
    tags = [json.dumps(value) for literal in literals for value in get_args(literal)]
    return f"has no {tag}", f"add {tag} ({' or '.join(tags)})"


def _unknown_tag(detail: ErrorDetails, _: _Place) -> Phrase:
    context = detail["ctx"]
    tag = context["discriminator"].strip("'")
    fix = f"make {tag} {_choices(context['expected_tags'])}"
    return f"has {tag} {json.dumps(context['tag'])}, which is not known", fix


def _unknown_value(detail: ErrorDetails, _: _Place) -> Phrase:
    problem = f"is {_shown(detail['input'])}, which is not a known value"
    return problem, f"make it {_choices(detail['ctx']['expected'])}"


def _pattern(detail: ErrorDetails, _: _Place) -> Phrase:
    pattern = detail["ctx"]["pattern"]
    return f"is {_shown(detail['input'])}, which does not match {pattern}", "rename it"


def _not_finite(detail: ErrorDetails, _: _Place) -> Phrase:
    return f"is {_shown(detail['input'])}, which is not finite", "write a finite number"


def _beyond(word: str, key: str, fix: str) -> Callable[[ErrorDetails, _Place], Phrase]:
    def phrase(detail: ErrorDetails, _: _Place) -> Phrase:
        return f"is {_shown(detail['input'])}, but must be {word} {detail['ctx'][key]:g}", fix

    return phrase


def _length(template: str, fix: str) -> Callable[[ErrorDetails, _Place], Phrase]:
    def phrase(detail: ErrorDetails, _: _Place) -> Phrase:
        return template.format(**detail["ctx"]), fix

    return phrase


_PHRASES: dict[str, Callable[[ErrorDetails, _Place], Phrase]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "union_tag_not_found": _no_tag,
    "union_tag_invalid": _unknown_tag,
    "literal_error": _unknown_value,
    "string_pattern_mismatch": _pattern,
    "finite_number": _not_finite,
    "greater_than": _beyond("above", "gt", "raise it"),
    "greater_than_equal": _beyond("at least", "ge", "raise it"),
    "less_than": _beyond("below", "lt", "lower it"),
    "less_than_equal": _beyond("at most", "le", "lower it"),
    "too_short": _length(
        "has {actual_length} entries, but needs at least {min_length}", "add the missing ones"
    ),
    "too_long": _length(
        "has {actual_length} entries, but may have at most {max_length}", "remove some"
    ),
    "string_too_short": _length("is shorter than {min_length} characters", "write more"),
    "string_too_long": _length("is longer than {max_length} characters", "shorten it"),
}


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
