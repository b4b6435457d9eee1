from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.audits.empirical.result import EmpiricalAudit
from fedward.client.cohort import Cohort
from fedward.client.vault import protection
from fedward.common.command_line import run

STUDY = """
[about]
name = "small"
title = "A small study"
[target]
name = "ill"
positive = ["yes"]
negative = ["no"]
[cohort]
expected_patients = 60
[model]
name = "logistic_regression"
[training]
method = "distributed"
rounds = 4
learning_rate = 1.0
[privacy]
epsilon = 3.0
delta = 1e-4
[[features]]
name = "x0"
kind = "numeric"
unit = "u"
range = [-1, 1]
"""
ROOMS = {
    "empirical": EntryPoint(
        name="empirical",
        value="fedward.audits.empirical.command_line:empirical",
        group="fedward.commands",
    )
}


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def data(tmp_path: Path, make_cohort: Callable[..., Cohort]) -> Path:
    folder = tmp_path / "wards"
    folder.mkdir()
    for number, ward in enumerate(("north", "south", "west")):
        cohort = make_cohort(15, columns=1, seed=number)
        owners = np.repeat(np.arange(15), np.diff(cohort.offsets))
        rows = zip(owners, cohort.features[:, 0], cohort.target, strict=True)
        lines = [f"p{who},{value:.4f},{'yes' if ill else 'no'}" for who, value, ill in rows]
        (folder / f"{ward}.csv").write_text("\n".join(["patient_id,x0,ill", *lines]) + "\n")
    return folder


def test_prints_the_verdict_and_writes_the_record(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "run" / "audit" / "empirical.json"
    arguments = ["empirical", str(study_file), "--canaries=300", "--seed=1", f"--json={record}"]
    assert run(arguments, rooms=ROOMS) == 0
    printed = capsys.readouterr().out
    assert "Passed:" in printed
    assert "Claims and lower bounds, 300 canaries" in printed
    found = EmpiricalAudit.model_validate_json(record.read_text())
    assert found.passed
    assert found.study_name == "small"
    assert (found.sites, found.canaries, found.seed) == (4, 300, 1)


def test_rehearses_with_the_patients_of_a_folder(
    study_file: Path, data: Path, tmp_path: Path
) -> None:
    record = tmp_path / "empirical.json"
    arguments = [str(study_file), f"--data={data}", "--canaries=200", f"--json={record}"]
    assert run(["empirical", *arguments, "--seed=1"], rooms=ROOMS) == 0
    found = EmpiricalAudit.model_validate_json(record.read_text())
    assert found.sites == 3
    assert "north (15)" in found.data_description


def test_ends_with_1_if_a_claim_does_not_hold(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = protection.add_noise_share

    def too_little(elements: Any, plan: Any, codec: Any, stream: Any) -> None:
        real(elements, replace(plan, share_multiplier=plan.share_multiplier / 6), codec, stream)

    monkeypatch.setattr(protection, "add_noise_share", too_little)
    assert run(["empirical", str(study_file), "--canaries=500", "--seed=1"], rooms=ROOMS) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "FAILED:" in printed
    assert "epsilon is claimed to be 3 at delta 0.0001, and is at least" in printed


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--data=.", "--sites=3"], "leave one of them out"),
        (["--canaries=20"], "'--canaries'"),
        (["--data=nowhere"], "there is no such folder"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    study_file: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert run(["empirical", str(study_file), *options], rooms=ROOMS) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "Traceback" not in said


def test_a_record_that_cannot_be_written_is_one_sentence(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    record = tmp_path / "file" / "empirical.json"
    arguments = ["empirical", str(study_file), "--canaries=100", f"--json={record}"]
    assert run(arguments, rooms=ROOMS) == 2
    assert "cannot be written" in capsys.readouterr().err
