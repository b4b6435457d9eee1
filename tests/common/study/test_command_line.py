from __future__ import annotations

from pathlib import Path

import pytest

from fedward.common.command_line import run
from fedward.common.study.loading import find_study, load_study


def out_of(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_check_tells_what_is_agreed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["study", "check", "heart_disease"]) == 0
    out = out_of(capsys)
    for part in (
        "resting_blood_pressure │ mmHg │ 60 to 240 │ drop row",
        "chest_pain │ category │ 1, 2, 3, 4 │ drop row",
        "heart_disease: 1, 2, 3, 4 against 0",
        "486 training patients expected over at least 2 sites",
        "logistic regression on 15 columns",
        "epsilon at most 1 at delta 0.0001",
        load_study(find_study("heart_disease")).digest,
        "heart_disease is a valid study.",
    ):
        assert part in out


def test_check_with_sites_shows_noise_and_both_epsilons(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["study", "check", "breast_cancer", "--sites", "4"]) == 0
    out = out_of(capsys)
    for sums in ("the scaler", "training", "the evaluation", "the counts by outcome"):
        assert f"│ sigma of {sums} │" in out
    assert "sigma of each site's own" not in out
    for patients in ("training", "held out"):
        assert f"│ epsilon, {patients} patients │ 1.0000, while at most 1 site cheats │" in out
        assert f"│ epsilon, {patients} patients, alone │ 1.8350 if every other site cheats" in out
    assert "│ spare attempts │ none │" in out


def test_check_with_sites_shows_what_is_planned_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = find_study("heart_disease").read_text(encoding="utf-8")
    path = tmp_path / "study.toml"
    own = text.replace("clip = 1.0", "clip = 1.0\nspare_attempts = 2")
    path.write_text(own.replace("[evaluation]", "[evaluation]\nper_site = true"), encoding="utf-8")
    assert run(["study", "check", str(path), "--sites", "4"]) == 0
    out = out_of(capsys)
    assert "sigma of each site's own evaluation" in out
    assert "times the clip, in each of 42 sums" in out
    assert "│ spare attempts │ 2 of each kind, paid for above │" in out
    silent = text.replace("[evaluation]", "[evaluation]\nrelease = false")
    path.write_text(silent, encoding="utf-8")
    assert run(["study", "check", str(path), "--sites", "4"]) == 0
    out = out_of(capsys)
    assert "evaluation │ 34% of the patients" in out
    assert "epsilon, training patients" in out
    assert "sigma of the evaluation" not in out
    assert "epsilon, held out patients" not in out


def test_too_few_sites_are_refused_before_anything_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["study", "check", "heart_disease", "--sites", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cohort.minimum_sites is 2" in captured.err


@pytest.mark.parametrize("name", ["breast_cancer_local", "breast_cancer_mlp"])
def test_check_describes_the_other_trainings(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["study", "check", name]) == 0
    out = out_of(capsys)
    if name == "breast_cancer_local":
        assert "rounds of DP-SGD at each site" in out
        assert "each site adds all of the noise itself" in out
    else:
        assert "of the patients of all sites" in out
        assert "mlp (hidden = [" in out


def test_text_of_the_file_is_neither_markup_nor_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = find_study("breast_cancer").read_text(encoding="utf-8")
    title = load_study(find_study("breast_cancer")).about.title
    path = tmp_path / "study.toml"
    path.write_text(text.replace(title, "[bold]x[/nothing]\\u001b[31m"), encoding="utf-8")
    assert run(["study", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "[bold]x[/nothing]" in out
    assert "\x1b[31m" not in out


def test_an_invalid_study_is_2_and_prints_only_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.toml"
    path.write_text("[about]\nname = 3\n")
    assert run(["study", "check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert f"error: {path}: about.name is 3, which is not text; write text." in lines
    assert all(line.startswith(f"error: {path}: ") for line in lines)


def test_list_names_the_samples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "list"]) == 0
    out = capsys.readouterr().out
    assert "breast_cancer" in out
    assert "heart_disease" in out
    assert "sites" not in out.replace("at each site", "")
