from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import fedward.simulations.preparation
import fedward.simulations.session
from fedward.client.vault.ledger_file import signed_entries
from fedward.common.errors import FedwardError, InputError, Interrupted, PrivacyRefusal
from fedward.common.study.loading import load_study
from fedward.server.run_log import read_run_log
from fedward.simulations.request import SimulationRequest
from fedward.simulations.results import ExperimentResult, RoundPoint
from fedward.simulations.run_folder import RunFolder
from fedward.simulations.session import simulate_study
from fedward.simulations.transcript import read_transcript

FolderStudy = Callable[..., Any]


@pytest.fixture
def real_report() -> None:
    """For tests that look into the report."""


@pytest.fixture(autouse=True)
def _quick_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a report takes longer than the smallest experiment."""

    def write(result: ExperimentResult, folder: Path) -> Path:
        path = folder / "report.html"
        path.write_text(result.study_title)
        return path

    if "real_report" not in request.fixturenames:
        monkeypatch.setattr("fedward.simulations.report.page.write_report", write)


def request_of(**changes: Any) -> SimulationRequest:
    fields: dict[str, Any] = dict.fromkeys(
        ("study", "data", "sites", "epsilons", "seeds", "ray_address", "runs", "name", "resume")
    )
    fields |= {
        "engine": "in-process",
        "insecure_noise_seed": None,
        "command": "fedward simulate",
        "now": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return SimulationRequest(**(fields | changes))


def simulated(**changes: Any) -> tuple[ExperimentResult, str]:
    terminal = io.StringIO()
    result = simulate_study(request_of(**changes), Console(file=terminal, width=200))
    return result, terminal.getvalue()


def small(inputs: Any, runs: Path, **changes: Any) -> dict[str, Any]:
    """The quickest whole experiment on these inputs."""
    fields: dict[str, Any] = {
        "study": str(inputs.study),
        "data": inputs.data,
        "epsilons": (3.0,),
        "seeds": 1,
        "runs": runs,
        "name": "one",
        "insecure_noise_seed": 5,
    }
    return fields | changes


def digests(result: ExperimentResult) -> list[list[str]]:
    return [[seed.model_digest for seed in arm.seeds] for arm in result.arms]


@pytest.mark.usefixtures("real_report")
def test_one_call_prints_a_table_and_writes_a_report(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    result, text = simulated(**small(inputs, runs))

    assert (runs / "one" / "report.html").is_file()
    written = json.loads((runs / "one" / "results.json").read_text())
    assert ExperimentResult.model_validate(written) == result
    assert "federated, distributed DP" in " ".join(text.split())
    assert str(runs / "one" / "report.html") in text
    assert [site.name for site in result.sites] == ["North", "south"]
    assert result.study_digest == load_study(inputs.study).digest
    assert [arm.target_epsilon for arm in result.arms] == [None, None, None, 3.0, 3.0, 3.0]


def test_without_a_name_the_folder_is_named_by_study_and_time(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    simulated(**small(folder_study(), tmp_path / "runs", name=None))

    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small-20260102-030405"]


def test_the_studys_own_epsilon_is_always_among_the_arms(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    result, _ = simulated(**small(folder_study(), tmp_path / "runs", epsilons=(1.0, 1.0)))

    private = [arm.target_epsilon for arm in result.arms if arm.kind == "pooled_private"]
    assert private == [1.0, 3.0]


REFUSED: dict[str, tuple[dict[str, Any], type[FedwardError], str]] = {
    "no such study": ({"study": "no_such"}, InputError, "no_such"),
    "no such study file": ({"study": "no/such.toml"}, InputError, r"no/such\.toml"),
    "no such data": ({"data": Path("no/such")}, InputError, "there is no such folder"),
    "sites beside data": ({"sites": 3}, InputError, "--sites: 3 goes with the built-in data"),
    "an epsilon of zero": ({"epsilons": (0.0,)}, InputError, "--epsilon: 0 is not from 0.01 to 50"),
    "an epsilon below zero": ({"epsilons": (-1.0,)}, InputError, "--epsilon: -1"),
    "an epsilon of NaN": ({"epsilons": (float("nan"),)}, InputError, "--epsilon: nan"),
    "an endless epsilon": ({"epsilons": (float("inf"),)}, InputError, "--epsilon: inf"),
    "a huge epsilon": ({"epsilons": (51.0,)}, InputError, "--epsilon: 51"),
    "a tiny epsilon": ({"epsilons": (1e-9,)}, InputError, "--epsilon: 1e-09"),
    "a name with a slash": ({"name": "a/b"}, InputError, "no plain folder name"),
    "a Ray address without Ray": (
        {"ray_address": "auto"},
        InputError,
        "--ray-address: auto does not go with --engine in-process; add --engine ray",
    ),
    "a drop-out above one half": ({"drop_out": 0.7}, InputError, "--drop-out: 0.7"),
    "a noise seed below zero": (
        {"insecure_noise_seed": -1},
        InputError,
        "--insecure-noise-seed: -1",
    ),
}


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_told_before_anything_is_written(
    folder_study: FolderStudy,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[FedwardError],
    message: str,
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"

    with pytest.raises(error, match=message):
        simulated(**(small(inputs, runs) | changes))
    assert not runs.exists()


@pytest.mark.parametrize("sites", [-1, 0, 1, 10_001])
def test_a_number_of_sites_that_is_no_federation_is_refused(tmp_path: Path, sites: int) -> None:
    with pytest.raises(InputError, match="--sites"):
        simulated(sites=sites, runs=tmp_path / "runs", seeds=1)
    assert not (tmp_path / "runs").exists()


def test_a_name_that_is_taken_is_told_at_once(
    folder_study: FolderStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    (runs / "one").mkdir(parents=True)
    monkeypatch.setattr(
        fedward.simulations.preparation, "checked_arms", lambda *_, **__: pytest.fail("calibrated")
    )

    with pytest.raises(InputError, match=r"exists already; choose another --name"):
        simulated(**small(folder_study(), runs))
    assert list((runs / "one").iterdir()) == []


@pytest.mark.parametrize("patients", [0, 1])
def test_data_that_hold_nobody_out_are_refused(
    folder_study: FolderStudy, tmp_path: Path, patients: int
) -> None:
    inputs, runs = folder_study(patients=patients), tmp_path / "runs"

    with pytest.raises(FedwardError, match=r"patient|record"):
        simulated(**small(inputs, runs))
    assert not runs.exists()


def test_one_hospital_without_patients_is_refused(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    (inputs.data / "empty.csv").write_text("patient_id,x0,x1,x2,ill\n")

    with pytest.raises(FedwardError, match=r"patient|record"):
        simulated(**small(inputs, runs))
    assert not runs.exists()


def test_an_arm_that_cannot_be_private_is_told_before_anything_is_written(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    text = inputs.study.read_text()
    inputs.study.write_text(text.replace("[scaling]", "minimum_sites = 3\n[scaling]"))

    with pytest.raises(PrivacyRefusal, match="minimum_sites"):
        simulated(**small(inputs, runs))
    assert not runs.exists()


def test_more_patients_than_the_study_allows_for_are_refused(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    text = inputs.study.read_text()
    inputs.study.write_text(text.replace("[scaling]", "max_patients_per_site = 20\n[scaling]"))

    with pytest.raises(InputError, match="max_patients_per_site"):
        simulated(**small(inputs, runs))
    assert not runs.exists()


def stop(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Press Ctrl-C in the round that comes after so many."""
    add_point = RunFolder.add_point
    left = after

    def point(folder: RunFolder, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        add_point(folder, *arguments)

    monkeypatch.setattr(RunFolder, "add_point", point)


def test_a_stopped_run_says_how_to_continue_and_does(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    whole, _ = simulated(**small(inputs, runs, name="whole"))
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, after=8)
        with pytest.raises(Interrupted, match=r"fedward simulate --resume .*one"):
            simulated(**small(inputs, runs))
    assert not (runs / "one" / "report.html").exists()

    continued, _ = simulated(resume=runs / "one")

    assert digests(continued) == digests(whole)
    assert (runs / "one" / "report.html").is_file()


def test_the_command_told_can_be_pasted_into_a_shell(
    folder_study: FolderStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "my runs"
    stop(monkeypatch, after=1)

    with pytest.raises(Interrupted) as caught:
        simulated(**small(folder_study(), runs))
    assert f"--resume '{runs / 'one'}'" in str(caught.value)


def test_a_finished_run_is_shown_again_without_training(
    folder_study: FolderStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    first, _ = simulated(**small(inputs, runs))
    (runs / "one" / "report.html").unlink()
    monkeypatch.setattr(RunFolder, "add_point", lambda *_: pytest.fail("trained"))

    again, _ = simulated(resume=runs / "one")

    assert digests(again) == digests(first)
    assert (runs / "one" / "report.html").is_file()


def test_a_run_is_not_continued_on_other_data(folder_study: FolderStudy, tmp_path: Path) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    simulated(**small(inputs, runs))
    table = inputs.data / "south.csv"
    lines = table.read_text().splitlines()
    before = {path: path.read_bytes() for path in (runs / "one").rglob("*") if path.is_file()}

    for changed in (lines[:-1], [*lines[:-1], lines[-1].replace("p39", "p38")]):
        table.write_text("\n".join(changed) + "\n")
        with pytest.raises(InputError, match="was begun on other data"):
            simulated(resume=runs / "one")
    table.unlink()
    with pytest.raises(InputError):
        simulated(resume=runs / "one")
    after = {path: path.read_bytes() for path in (runs / "one").rglob("*") if path.is_file()}
    assert after == before


def test_a_run_may_be_continued_from_another_folder(
    folder_study: FolderStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Relative paths, and a mapping that is found beside the study alone.
    inputs, runs = folder_study(), tmp_path / "runs"
    for number, name in enumerate(("North", "south")):
        (inputs.data / f"{name}.csv").rename(inputs.data / f"table{number}.txt")
    inputs.study.with_name("small.sites.toml").write_text(
        "".join(
            f'[[sites]]\nname = "site{number}"\nfile = "table{number}.txt"\n'
            f'patient = "patient_id"\n'
            for number in range(2)
        )
    )
    monkeypatch.chdir(inputs.study.parent)
    relative = small(inputs, runs, study="small.toml", data=Path("data"))
    first, _ = simulated(**relative)
    monkeypatch.chdir(tmp_path)

    again, _ = simulated(resume=Path("runs/one"))

    assert [site.name for site in again.sites] == ["site0", "site1"]
    assert digests(again) == digests(first)


def test_a_run_goes_on_with_the_study_it_began_with(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    first, _ = simulated(**small(inputs, runs))
    inputs.study.write_text(inputs.study.read_text().replace("rounds = 3", "rounds = 2"))

    again, _ = simulated(resume=runs / "one")

    assert again.study_digest == first.study_digest


@pytest.mark.parametrize(
    ("option", "change"),
    [
        ("STUDY", {"study": "breast_cancer"}),
        ("--data", {"data": Path("data")}),
        ("--sites", {"sites": 4}),
        ("--epsilon", {"epsilons": (1.0,)}),
        ("--seeds", {"seeds": 5}),
        ("--runs", {"runs": Path("runs")}),
        ("--name", {"name": "two"}),
        ("--insecure-noise-seed", {"insecure_noise_seed": 0}),
        ("--drop-out", {"drop_out": 0.1}),
        ("--no-masks", {"no_masks": True}),
        ("--transcript", {"transcript": True}),
    ],
)
def test_a_continued_run_keeps_its_own_settings(
    folder_study: FolderStudy, tmp_path: Path, option: str, change: dict[str, Any]
) -> None:
    runs = tmp_path / "runs"
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, after=1)
        with pytest.raises(Interrupted):
            simulated(**small(folder_study(), runs))

    with pytest.raises(InputError, match=f"--resume: {option} was given"):
        simulated(resume=runs / "one", **change)


@pytest.mark.usefixtures("real_report")
def test_a_run_is_masked_unless_it_is_told_otherwise(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    masked, said = simulated(**small(inputs, runs))
    bare, said_bare = simulated(**small(inputs, runs, name="bare", no_masks=True))

    assert (masked.masked, bare.masked) == (True, False)
    assert "not masked" not in said
    assert "The releases were not masked" in " ".join(said_bare.split())
    for name, found in (("one", False), ("bare", True)):
        assert ("not masked" in (runs / name / "report.html").read_text()) is found
    # The models are the same to the last byte: masks cancel.
    assert digests(masked) == digests(bare)


def test_hospitals_fail_where_they_are_told_to(folder_study: FolderStudy, tmp_path: Path) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    for name in ("west", "east"):
        (inputs.data / f"{name}.csv").write_bytes((inputs.data / "south.csv").read_bytes())
    calm, _ = simulated(**small(inputs, runs))
    stormy, _ = simulated(**small(inputs, runs, name="stormy", drop_out=0.1))

    def lost(result: ExperimentResult) -> float:
        return sum(arm.traffic.lost for arm in result.arms if arm.traffic)

    assert (calm.drop_out, lost(calm)) == (0.0, 0)
    assert stormy.drop_out == 0.1
    assert lost(stormy) > 0


def test_a_transcript_is_written_beside_the_report_and_told(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    plain, _ = simulated(**small(inputs, runs))
    recorded, _ = simulated(**small(inputs, runs, name="recorded", transcript=True))

    path = runs / "recorded" / "transcript.jsonl"
    assert not (runs / "one" / "transcript.jsonl").exists()
    runs_told = {line.fields["run_id"] for line in read_transcript(path) if "run_id" in line.fields}
    assert runs_told == {"small/federated-distributed-epsilon-3/0/all"}
    (note,) = [note for note in recorded.notes if "transcript.jsonl" in note]
    assert "federated, distributed DP, ε = 3, seed 0" in note
    assert not any("transcript" in note for note in plain.notes)


def books_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "books").rglob("*"))
        if path.is_file()
    }


def stop_in_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the training that has books in its second round."""
    add_point = RunFolder.add_point

    def point(folder: RunFolder, arm: str, seed: int, part: str, found: RoundPoint) -> None:
        if arm == "federated-distributed-epsilon-3" and found.round == 2:
            raise KeyboardInterrupt
        add_point(folder, arm, seed, part, found)

    monkeypatch.setattr(RunFolder, "add_point", point)


def test_every_run_writes_books_and_says_how_to_check_them(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "my runs"
    result, text = simulated(**small(inputs, runs, seeds=2))
    log = read_run_log(runs / "one" / "books" / "coordinator.jsonl")

    assert log.started.run_id == "small/federated-distributed-epsilon-3/0/all"
    assert log.started.signed_roster.roster.names == ("North", "south")
    assert f"Books: {runs / 'one' / 'books'}" in text
    assert f"fedward audit ledger '{runs / 'one'}'" in text
    (note,) = [note for note in result.notes if " books" in note]
    assert "federated, distributed DP, ε = 3, seed 0" in note


def test_books_of_a_training_that_was_stopped_are_begun_again(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    whole, _ = simulated(**small(inputs, runs, name="whole", transcript=True))
    with pytest.MonkeyPatch.context() as patch:
        stop_in_books(patch)
        with pytest.raises(Interrupted):
            simulated(**small(inputs, runs, transcript=True))
    torn = books_of(runs / "one")
    assert "books/sites/North/ledger.sqlite" in torn
    assert "books/coordinator.jsonl" not in torn

    continued, _ = simulated(resume=runs / "one")

    assert digests(continued) == digests(whole)
    log = read_run_log(runs / "one" / "books" / "coordinator.jsonl")
    # One ledger from its opening on, with every round once.
    for known in log.heads:
        chain = signed_entries(runs / "one" / "books" / "sites" / known.head.site / "ledger.sqlite")
        assert known.head.digest == chain[-1].digest
        assert len([record for record in log.records if record.site == known.head.site]) == 5
    sent = {
        name: [line.kind for line in read_transcript(runs / name / "transcript.jsonl")]
        for name in ("one", "whole")
    }
    assert sent["one"] == sent["whole"]


def test_finished_books_are_left_alone(folder_study: FolderStudy, tmp_path: Path) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    simulated(**small(inputs, runs))
    before = books_of(runs / "one")
    simulated(resume=runs / "one")

    assert before
    assert books_of(runs / "one") == before


def test_without_ledgers_at_hand_there_are_no_books(
    folder_study: FolderStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, runs = folder_study(), tmp_path / "runs"
    with pytest.MonkeyPatch.context() as patch:
        stop_in_books(patch)
        with pytest.raises(Interrupted):
            simulated(**small(inputs, runs))
    assert books_of(runs / "one")
    monkeypatch.setattr("fedward.simulations.books.MAX_BOOKED_SITES", 1)
    result, text = simulated(resume=runs / "one")

    assert "No books were written: there are more than 1 hospitals." in result.notes
    assert "Books:" not in text
    # What another engine had begun would tell of half a training.
    assert books_of(runs / "one") == {}


def test_there_is_nothing_to_continue_in_any_other_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run to resume"):
        simulated(resume=tmp_path)


def test_the_engine_is_closed_whatever_happens(
    folder_study: FolderStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedward.simulations.engines.in_process_engine import InProcessEngine

    closed: list[str] = []
    monkeypatch.setattr(InProcessEngine, "close", lambda _: closed.append("closed"))
    inputs, runs = folder_study(), tmp_path / "runs"

    with pytest.MonkeyPatch.context() as patch:
        stop(patch, after=1)
        with pytest.raises(Interrupted):
            simulated(**small(inputs, runs))
    simulated(resume=runs / "one")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be made"):
        simulated(**small(inputs, tmp_path / "file"))

    assert closed == ["closed"] * 3
