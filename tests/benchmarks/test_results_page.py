from __future__ import annotations

import math
from pathlib import Path

import pytest
from findings import Findings, Measured, Target, at_least, at_most, table
from results_page import keep, kept, page_of, write_page


def _measured(value: float, *, tables: bool = True, lacking: tuple[str, ...] = ()) -> Measured:
    return Measured(
        findings=Findings(
            title="A title",
            about="About it.",
            tables=(table("Figures", ("model", "value"), [("a | b", f"{value:.3f}")]),)
            if tables
            else (),
            targets=(at_least("value", value, 0.5),) if tables else (),
            notes=("a note",),
            not_measured=lacking,
        ),
        command="python benchmarks/run.py part",
        date="2026-01-01",
        seconds=12.3,
        machine="2 cores",
        versions={"Python": "3.11"},
    )


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (at_least("x", 0.5, 0.5), True),
        (at_least("x", 0.4999, 0.5), False),
        (at_most("x", 0.5, 0.5), True),
        (at_most("x", 0.5001, 0.5), False),
        (at_least("x", math.nan, 0.5), False),
        (at_most("x", math.nan, 0.5), False),
    ],
)
def test_targets_are_judged_by_their_figures(target: Target, met: bool) -> None:
    assert target.met is met
    assert ("MISSED" in target.verdict) is not met


def test_page_shows_tables_targets_and_circumstances() -> None:
    page = page_of({"part": _measured(0.4), "other": _measured(0.6)})
    assert page.count("**MISSED**") == 2  # in the list of all targets and in its section
    assert page.count("| met |") == 2
    assert "| a \\| b | 0.400 |" in page
    assert "`python benchmarks/run.py part`" in page
    for words in ("2 cores", "Python 3.11", "2026-01-01", "- a note", "About it."):
        assert words in page


def test_page_says_what_was_not_measured() -> None:
    page = page_of({"part": _measured(0.0, tables=False, lacking=("no data",))})
    assert "- part: not measured here: no data" in page
    assert "Not measured here: no data" in page


def test_other_sections_survive(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    keep("one", _measured(0.6), folder=tmp_path)
    keep("two", _measured(0.7), folder=tmp_path)
    keep("two", _measured(0.8), folder=tmp_path)
    write_page(("two", "one", "three"), folder=tmp_path, page=page)
    text = page.read_text(encoding="utf-8")
    assert text.index("(`two`)") < text.index("(`one`)")
    assert "0.800" in text
    assert "0.700" not in text
    assert "0.600" in text


def test_what_was_measured_survives_a_machine_that_cannot(tmp_path: Path) -> None:
    nothing = _measured(0.0, tables=False, lacking=("no data",))
    assert keep("part", nothing, folder=tmp_path)
    assert keep("part", _measured(0.6), folder=tmp_path)
    assert not keep("part", nothing, folder=tmp_path)
    assert kept(("part",), folder=tmp_path)["part"] == _measured(0.6)


def test_rows_must_fit_the_columns() -> None:
    with pytest.raises(ValueError, match="wrong number of cells"):
        table("Figures", ("a", "b"), [("only one",)])
