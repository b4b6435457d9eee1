"""``fedward simulate`` as a user starts, stops, kills and continues it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.common.command_line import run
from fedward.simulations.request import SimulationRequest

FolderStudy = Callable[..., Any]
# A process that a shell put into the background ignores Ctrl-C, and so would its children.
FEDWARD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from fedward.common.command_line import main
main()
"""
ROUNDS = 60
MIDWAY = "trainings/pooled-private-epsilon-3/seed-0/all/releases.jsonl"


def arguments_for(inputs: Any, runs: Path, name: str) -> list[str]:
    return [
        "simulate",
        str(inputs.study),
        f"--data={inputs.data}",
        "--epsilon=3",
        "--seeds=1",
        f"--runs={runs}",
        f"--name={name}",
        "--insecure-noise-seed=5",
    ]


def interrupted(arguments: list[str], runs: Path, sent: signal.Signals) -> tuple[int, str]:
    """Start the command, send the signal in the midst of a training, and tell how it ended."""
    # Slower arms come after this one, so that the signal is in time on a busy machine too.
    log = runs / "one" / MIDWAY
    process = subprocess.Popen(
        [sys.executable, "-c", FEDWARD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") > 10):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(sent)
    _, complaint = process.communicate(timeout=60)
    return process.returncode, complaint


def digests(folder: Path) -> dict[str, str]:
    """The digest of every model of a run."""
    result = json.loads((folder / "results.json").read_text())
    return {
        f"{arm['kind']} {seed['seed']}": seed["model_digest"]
        for arm in result["arms"]
        for seed in arm["seeds"]
    }


def logged(folder: Path) -> list[dict[str, Any]]:
    """The log of the training that was stopped, but for what a session of its own changes."""
    of_a_session = {"session", "query_digest", "release_digest", "query_bytes"}
    lines = [json.loads(line) for line in (folder / MIDWAY).read_text().splitlines()]
    return [{name: line[name] for name in line.keys() - of_a_session} for line in lines]


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_models(
    folder_study: FolderStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, runs = folder_study(rounds=ROUNDS), tmp_path / "runs"
    code, _ = interrupted(arguments_for(inputs, runs, "one"), runs, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (runs / "one" / "results.json").exists()

    assert run(["simulate", "--resume", str(runs / "one")]) == 0
    assert run(arguments_for(inputs, runs, "whole")) == 0

    assert digests(runs / "one") == digests(runs / "whole")
    assert len(digests(runs / "one")) == 6
    assert logged(runs / "one") == logged(runs / "whole")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_how_to_continue(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(rounds=ROUNDS), tmp_path / "runs"
    code, complaint = interrupted(arguments_for(inputs, runs, "one"), runs, signal.SIGINT)

    assert code == 130
    assert f"fedward simulate --resume {runs / 'one'}" in complaint
    assert "Traceback" not in complaint
    assert run(["simulate", "--resume", str(runs / "one")]) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["no_such_study"], "no_such_study"),
        (["--resume", "no/such/folder"], "holds no run to resume"),
        (["--epsilon", "0"], "--epsilon: 0 is not from 0.01 to 50"),
        (["--epsilon", "many"], "many"),
        (["--sites", "0"], "--sites"),
        (["--seeds", "0"], "--seeds"),
        (["--insecure-noise-seed", "-1"], "--insecure-noise-seed"),
        (["--engine", "spark"], "spark"),
        (["--drop-out", "0.6"], "--drop-out: 0.6 is not from 0 to 0.5"),
        (["--drop-out", "often"], "often"),
        (["--ray-address", "auto"], "add --engine ray"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(["simulate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_session_as_they_were_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[SimulationRequest] = []
    monkeypatch.setattr(
        "fedward.simulations.session.simulate_study",
        lambda request, _console: requests.append(request),
    )
    monkeypatch.setattr(sys, "argv", ["fedward", "simulate", "a study.toml"])

    for line in (
        "simulate",
        "simulate a.toml --data d --epsilon 1 --epsilon 0.5 --seeds 2 --engine ray "
        "--ray-address host:1 --runs r --name n --insecure-noise-seed 0",
        "simulate --sites 7 --resume f --engine flower",
        "simulate --drop-out 0.02 --no-masks --transcript",
    ):
        assert run(line.split()) == 0

    plain, full, other, stormy = requests
    nothing = ("study", "data", "sites", "epsilons", "seeds", "runs", "name", "resume")
    assert [getattr(plain, field) for field in nothing] == [None] * len(nothing)
    assert (plain.engine, plain.insecure_noise_seed) == ("in-process", None)
    assert (plain.drop_out, plain.no_masks, plain.transcript) == (None, False, False)
    assert (stormy.drop_out, stormy.no_masks, stormy.transcript) == (0.02, True, True)
    # What the report tells can be pasted into a shell again.
    assert plain.command == "fedward simulate 'a study.toml'"
    assert plain.now.tzinfo is not None
    assert (full.study, full.data, full.epsilons, full.seeds) == (
        "a.toml",
        Path("d"),
        (1.0, 0.5),
        2,
    )
    assert (full.engine, full.ray_address) == ("ray", "host:1")
    assert (full.runs, full.name, full.insecure_noise_seed) == (Path("r"), "n", 0)
    assert (other.sites, other.resume, other.engine) == (7, Path("f"), "flower")


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--help"]) == 0
    text = capsys.readouterr().out

    for option in ("--data", "--sites", "--epsilon", "--seeds", "--engine", "--resume", "--name"):
        assert option in text
