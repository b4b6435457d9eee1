"""The references of protocol and run folder name exactly what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from fedward.common.ledger.heads import KnownHead, LedgerHead, LedgerPosition
from fedward.common.protocol import envelope, frame
from fedward.common.protocol.fields import PROTOCOL
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    CloseSessionQuery,
    OpenSessionQuery,
    SumQuery,
)
from fedward.common.protocol.releases import (
    ExecutedNoise,
    Refusal,
    RefusalReason,
    SessionClosed,
    SessionOpened,
    SumRelease,
)
from fedward.common.secure_sum.roster import Roster, RosterSite, SignedRoster
from fedward.common.secure_sum.session import SessionOffer
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_log_lines import HeadsKnown, LogSigned, ReleaseAsked, RunStarted
from fedward.simulations.results import (
    ArmKind,
    ArmResult,
    CalibrationBin,
    ChargedBin,
    ChargedEvaluation,
    ChargedGroup,
    CrossCheck,
    ExperimentResult,
    Figure,
    RoundPoint,
    SeedResult,
    SiteSummary,
    SumTraffic,
    Traffic,
)
from fedward.simulations.transcript import Direction, TranscriptArray, TranscriptLine

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
        for model in (SessionOpened, SessionClosed, SumRelease, Refusal)
    }
    text = (REFERENCE / PROTOCOL_PAGE).read_text("utf-8")
    models = (
        ExecutedNoise,
        SessionOffer,
        SumQuery,
        OpenSessionQuery,
        CloseSessionQuery,
        SignedRoster,
        Roster,
        RosterSite,
        LedgerPosition,
        LedgerHead,
        KnownHead,
    )
    assert all(f"`{name}`" in text for model in models for name in model.model_fields)


def test_refusals_are_all_reasons() -> None:
    assert keys(PROTOCOL_PAGE, "Refusals") == {reason.value for reason in RefusalReason}


def test_bounds_of_a_frame_are_those_of_the_code() -> None:
    bounds = {row[0]: row[1] for row in rows(PROTOCOL_PAGE, "Frame")}
    assert bounds["header"] == f"{frame.MAX_HEADER_BYTES} bytes"
    assert bounds["`{` and `[` in the header"] == str(frame.MAX_BRACKETS)
    assert bounds["commas in the header"] == str(frame.MAX_COMMAS)
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
        "`traffic`": Traffic,
        "`charged_evaluation`": ChargedEvaluation,
        "`releases.jsonl`": ReleaseRecord,
        "`transcript.jsonl`": TranscriptLine,
    }
    for heading, model in sections.items():
        assert keys("run-folder.md", heading) - {"key"} == set(model.model_fields), heading


def test_lines_of_the_signed_log_are_named_with_all_they_hold() -> None:
    lines = (RunStarted, ReleaseAsked, HeadsKnown, LogSigned)
    shown = {
        next(iter(words(row[0]))): words(row[1])
        for row in rows("run-folder.md", "`books/`")
        if words(row[0]) and row[0] != "`kind` of the body"
    }
    for line in lines:
        fields = set(line.model_fields) - {"kind"}
        assert fields <= shown[line.model_fields["kind"].default]
        # A record's line is described beside it.
        assert shown[line.model_fields["kind"].default] - fields <= {"releases.jsonl"}


def meanings(heading: str) -> dict[str, str]:
    """What each key of a table of the run folder's page says."""
    return {word: row[1] for row in rows("run-folder.md", heading) for word in words(row[0])}


def test_parts_of_traffic_and_of_what_was_measured_are_named() -> None:
    assert words(meanings("`traffic`")["by_kind"]) == set(SumTraffic.model_fields)
    group = words(meanings("`charged_evaluation`")["groups"])
    assert group == set(ChargedGroup.model_fields) | set(ChargedBin.model_fields)
    text = (REFERENCE / "run-folder.md").read_text("utf-8")
    assert all(f"`{name}`" in text for name in Figure.model_fields)


def test_parts_of_a_log_and_of_a_transcript_are_named() -> None:
    log, transcript = meanings("`releases.jsonl`"), meanings("`transcript.jsonl`")
    assert words(log["kind"]) == set(get_args(ReleaseRecord.model_fields["kind"].annotation))
    assert words(log["executed"]) == set(ExecutedNoise.model_fields)
    assert words(transcript["direction"]) == set(get_args(Direction))
    assert words(transcript["arrays"]) == set(TranscriptArray.model_fields)


def test_kinds_and_parts_of_an_arm_are_named() -> None:
    meanings = {next(iter(words(row[0])), ""): row[1] for row in rows("run-folder.md", "`arms`")}
    assert words(meanings["kind"]) == set(get_args(ArmKind))
    assert words(meanings["rounds"]) == set(RoundPoint.model_fields)
    assert words(meanings["calibration"]) == set(CalibrationBin.model_fields)
    assert words(meanings["cross_check"]) - {"epsilon"} == set(CrossCheck.model_fields)
