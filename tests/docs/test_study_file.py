"""The reference of study.toml and sites.toml lists exactly the keys, bounds and defaults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fedward.client.sources.mapping import FileMapping, SiteMapping
from fedward.common.models.logistic_regression import LogisticRegressionOptions
from fedward.common.models.mlp import MlpOptions
from fedward.common.models.registry import registered_names
from fedward.common.study import definition
from fedward.common.study.definition import Study

DOCS = Path(__file__).resolve().parents[2] / "docs"
STUDY_FILE = DOCS / "reference" / "study-file.md"
SITES_FILE = DOCS / "reference" / "sites-file.md"
NAME = "^[a-z][a-z0-9_]{0,63}$"
SITE = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

SECTIONS: list[tuple[Path, str, type[BaseModel]]] = [
    (STUDY_FILE, "`[about]`", definition.About),
    (STUDY_FILE, "`[[features]]`, numeric", definition.NumericFeature),
    (STUDY_FILE, "`[[features]]`, categorical", definition.CategoricalFeature),
    (STUDY_FILE, "`[target]`", definition.Target),
    (STUDY_FILE, "`[cohort]`", definition.Cohort),
    (STUDY_FILE, "`[scaling]`", definition.Scaling),
    (STUDY_FILE, "`[statistics]`", definition.Statistics),
    (STUDY_FILE, "`[model]`", definition.Model),
    (STUDY_FILE, "`[training]`, distributed", definition.DistributedTraining),
    (STUDY_FILE, "`[training]`, local", definition.LocalTraining),
    (STUDY_FILE, "`[privacy]`", definition.Privacy),
    (STUDY_FILE, "`[evaluation]`", definition.Evaluation),
    (STUDY_FILE, "Options of `mlp`", MlpOptions),
    (SITES_FILE, "`[defaults]`", FileMapping),
    (SITES_FILE, "`[[sites]]`", SiteMapping),
]


def rows_of(page: Path, heading: str) -> list[list[str]]:
    """Cells of the table rows below a heading, without the table's head."""
    text = page.read_text("utf-8")
    start = re.search(rf"^## {re.escape(heading)}$", text, re.MULTILINE)
    assert start, f"{page.name} has no section {heading!r}"
    section = text[start.end() :].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def value_of(schema: dict[str, Any]) -> str:
    """What may stand for a key, in the words of the reference."""
    if "anyOf" in schema:
        (schema,) = (part for part in schema["anyOf"] if part.get("type") != "null")
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    kind = schema["type"]
    if schema.get("patternProperties", {}).get(NAME, {}).get("items", {}).get("pattern") == SITE:
        return "table of lists of sites"
    if kind == "array" and schema.get("items", {}).get("type") == "integer":
        return f"{value_of(schema | {'items': {}}).replace('texts', 'whole numbers')}, each " + (
            value_of(schema["items"]).removeprefix("whole number, ")
        )
    if kind == "string" and schema.get("pattern") == NAME:
        return "name"
    if kind == "array" and "prefixItems" in schema:
        return "two numbers"
    plain = {
        "boolean": "`true` or `false`",
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "object": "table",
        "array": "list of texts",
    }[kind]
    signs = {
        "exclusiveMinimum": ">",
        "minimum": "≥",
        "exclusiveMaximum": "<",
        "maximum": "≤",
        "minLength": "length ≥",
        "maxLength": "length ≤",
        "minItems": "length ≥",
        "maxItems": "length ≤",
    }
    bounds = [f"{sign} {_shown(schema[key])}" for key, sign in signs.items() if key in schema]
    return ", ".join([plain, *bounds])


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def default_of(model: type[BaseModel], key: str) -> str:
    field = model.model_fields[key]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize(("page", "heading", "model"), SECTIONS, ids=[s[1] for s in SECTIONS])
def test_a_section_lists_its_keys(page: Path, heading: str, model: type[BaseModel]) -> None:
    properties = model.model_json_schema()["properties"]
    if model is SiteMapping:
        own = set(SiteMapping.model_fields) - set(FileMapping.model_fields)
        properties = {key: schema for key, schema in properties.items() if key in own}
    expected = [
        [f"`{key}`", value_of(schema), default_of(model, key)] for key, schema in properties.items()
    ]

    shown = rows_of(page, heading)

    assert sorted(row[:3] for row in shown) == sorted(expected)
    assert all(len(row) == 4 and row[3] for row in shown), "a key is not explained"


def test_every_table_of_the_study_has_a_section() -> None:
    headings = re.findall(r"^## `\[+(\w+)\]+`", STUDY_FILE.read_text("utf-8"), re.MULTILINE)
    assert set(headings) == set(Study.model_fields)


def test_the_pages_patterns_are_the_codes() -> None:
    text = STUDY_FILE.read_text("utf-8")
    assert f"`{NAME}`" in text
    assert f"`{SITE}`" in text


def test_every_registered_model_is_named() -> None:
    text = STUDY_FILE.read_text("utf-8")
    assert all(f"`{name}`" in text for name in registered_names())
    assert registered_names() == ("logistic_regression", "mlp")
    assert not LogisticRegressionOptions.model_fields
