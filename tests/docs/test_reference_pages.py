"""The references of protocol and run folder name exactly what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from fedward.common.protocol import envelope, frame
from fedward.common.protocol.queries import ARRAYS_OF, PROTOCOL
from fedward.common.protocol.releases import (
    ExecutedNoise,
    Identified,
    Refusal,
    RefusalReason,
    SumRelease,
)
from fedward.simulations.results import (
    ArmKind,
    ArmResult,
    CalibrationBin,
    CrossCheck,
    ExperimentResult,
    RoundPoint,
    SeedResult,
    SiteSummary,
)

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PROTOCOL_PAGE = "query-protocol.md"


def rows(page: str, heading: str) -> list[list[str]]:
    text = (REFERENCE / page).read_text("utf-8")
    section = re.split(rf"^## {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    lines = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if not set(row[0]) <= set("-|")]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def keys(page: str, heading: str) -> set[str]:
    return {word for row in rows(page, heading) for word in words(row[0])}


def test_queries_are_the_closed_list_with_their_arrays() -> None:
    shown = {next(iter(words(row[0]))): words(row[2]) for row in rows(PROTOCOL_PAGE, "Queries")[1:]}
    assert shown == {kind: set(arrays) for kind, arrays in ARRAYS_OF.items()}
    assert f"Version {PROTOCOL}." in (REFERENCE / PROTOCOL_PAGE).read_text("utf-8")


def test_answers_have_these_fields() -> None:
    everywhere = {"protocol", "kind", "site"}
    shown = {next(iter(words(row[0]))): words(row[2]) for row in rows(PROTOCOL_PAGE, "Answers")[1:]}
    assert shown == {
        model.model_fields["kind"].default: set(model.model_fields) - everywhere
        for model in (Identified, SumRelease, Refusal)
    }
    text = (REFERENCE / PROTOCOL_PAGE).read_text("utf-8")
    assert all(f"`{name}`" in text for name in ExecutedNoise.model_fields)


def test_refusals_are_all_reasons() -> None:
    assert keys(PROTOCOL_PAGE, "Refusals") == {reason.value for reason in RefusalReason}


def test_bounds_of_a_frame_are_those_of_the_code() -> None:
    bounds = {row[0]: row[1] for row in rows(PROTOCOL_PAGE, "Frame")}
    assert bounds["header"] == f"{frame.MAX_HEADER_BYTES} bytes"
    assert bounds["one array"] == f"{frame.MAX_ARRAY_BYTES} bytes"
    assert bounds["arrays"] == str(frame.MAX_ARRAYS)
    assert bounds["dimensions"] == str(frame.MAX_DIMENSIONS)
    assert words(bounds["dtypes"]) == set(frame.DTYPES)
    text = (REFERENCE / PROTOCOL_PAGE).read_text("utf-8")
    assert f'message.content["{envelope.RECORD}"]["{envelope.FIELD}"]' in text
    assert f"`{envelope.MESSAGE_TYPE}`" in text
    assert f"`{frame.MAGIC.decode()}`" in text


def test_results_have_these_keys() -> None:
    sections: dict[str, type[BaseModel]] = {
        "`results.json`": ExperimentResult,
        "`sites`": SiteSummary,
        "`arms`": ArmResult,
        "`seeds`": SeedResult,
    }
    for heading, model in sections.items():
        assert keys("run-folder.md", heading) - {"key"} == set(model.model_fields), heading


def test_kinds_and_parts_of_an_arm_are_named() -> None:
    meanings = {next(iter(words(row[0])), ""): row[1] for row in rows("run-folder.md", "`arms`")}
    assert words(meanings["kind"]) == set(get_args(ArmKind))
    assert words(meanings["rounds"]) == set(RoundPoint.model_fields)
    assert words(meanings["calibration"]) == set(CalibrationBin.model_fields)
    assert words(meanings["cross_check"]) - {"epsilon"} == set(CrossCheck.model_fields)
