from __future__ import annotations

from pathlib import Path

import pytest

from fedward.audits.report import reading
from fedward.audits.report.reading import read_report
from fedward.common.errors import InputError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON"),
        (b"not json", "no JSON"),
        (b"[]", "no auditor's statement"),
        (b'{"report": {}}', "no auditor's statement"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe{}", "no UTF-8"),
        (b"<!DOCTYPE html><p>Another page</p>", "exactly one set of signed data"),
    ],
)
def test_what_is_no_report_is_an_error_of_one_sentence(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_report(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_report(tmp_path / "nothing.json")
    monkeypatch.setattr(reading, "MOST_BYTES", 10)
    (tmp_path / "large.json").write_bytes(b"{" + b" " * 20 + b"}")
    with pytest.raises(InputError, match="too large"):
        read_report(tmp_path / "large.json")


def test_data_of_another_form_are_read_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"statement": 1, "signature": "", "report": {"sites": [{"site": 3}]}}')
    read = read_report(path)
    assert read.signed is None
    assert any(problem.startswith("report.sites[0].site:") for problem in read.problems)
