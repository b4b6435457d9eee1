from __future__ import annotations

from pathlib import Path

from heart_disease import measure
from workers import Settings


def test_without_the_files_nothing_is_measured_and_it_is_said(tmp_path: Path) -> None:
    findings = measure(Settings(heart_disease=tmp_path / "absent"))
    assert not findings.tables
    assert not findings.targets
    assert "shared/data/heart_disease" in findings.not_measured[0]
