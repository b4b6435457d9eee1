from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedward.common.errors import InputError
from fedward.common.study.loading import find_study
from fedward.simulations.preparation import prepare, prepare_again
from fedward.simulations.request import SimulationRequest

FolderStudy = Callable[..., Any]


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


def shipped_study(tmp_path: Path, **replaced: str) -> Path:
    """The study of the built-in data, with some numbers of its text replaced."""
    lines = find_study("breast_cancer").read_text().splitlines()
    for old, new in replaced.items():
        (place,) = [n for n, line in enumerate(lines) if line.startswith(f"{old} = ")]
        lines[place] = f"{old} = {new}"
    path = tmp_path / "study.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_nothing_asked_for_is_the_shipped_study_over_four_hospitals() -> None:
    prepared = prepare(request_of(epsilons=(1.0,)))

    assert prepared.settings.study.about.name == "breast_cancer"
    assert (prepared.settings.sites, len(prepared.hospitals.sites)) == (4, 4)
    assert prepared.settings.seeds == (0, 1, 2, 3, 4)
    assert prepared.settings.started == "2026-01-02T03:04:05+00:00"
    assert prepared.settings.notes == ()
    assert (prepared.settings.masked, prepared.settings.drop_out) == (True, 0.0)
    assert prepared.settings.transcript is False


def test_a_run_prepared_again_has_the_same_hospitals_and_arms(
    folder_study: FolderStudy, tmp_path: Path
) -> None:
    inputs = folder_study()
    request = request_of(study=str(inputs.study), data=inputs.data, epsilons=(3.0,), seeds=2)
    first = prepare(request)
    again = prepare_again(request_of(resume=tmp_path), first.settings)

    assert again.settings == first.settings
    assert list(again.arms) == list(first.arms)
    assert [site.name for site in again.hospitals.sites] == ["North", "south"]
    assert first.settings.sites is None
    assert Path(first.settings.study_source).is_absolute()
    assert [path.name for path in tmp_path.iterdir()] == ["input"]


@pytest.mark.parametrize(("declared", "sized"), [("300", False), ("900", False), ("5000", True)])
def test_the_built_in_data_set_a_size_that_is_far_off(
    tmp_path: Path, declared: str, sized: bool
) -> None:
    path = shipped_study(tmp_path, expected_patients=declared)
    settings = prepare(request_of(study=str(path), epsilons=(1.0,))).settings

    assert settings.study.cohort.expected_patients == (455 if sized else int(declared))
    assert settings.study.privacy.delta < 1 / (10 * settings.study.cohort.expected_patients)
    # A study that was changed must not be taken for the one that was given.
    assert len(settings.notes) == int(sized)
    if sized:
        assert "5000" in settings.notes[0]
        assert "455" in settings.notes[0]


def test_a_folders_study_is_left_alone_and_a_wrong_size_is_told(folder_study: FolderStudy) -> None:
    inputs = folder_study(patients=400)
    request = request_of(study=str(inputs.study), data=inputs.data, epsilons=(3.0,))
    settings = prepare(request).settings

    assert settings.study.cohort.expected_patients == 64
    (note,) = settings.notes
    assert "64" in note
    assert "640" in note


def test_a_delta_that_the_true_size_does_not_bear_is_refused(folder_study: FolderStudy) -> None:
    inputs = folder_study(patients=400)
    text = inputs.study.read_text()
    inputs.study.write_text(
        text.replace("expected_patients = 64", "expected_patients = 20").replace("1e-4", "4e-3")
    )

    with pytest.raises(InputError, match=r"privacy\.delta is 0\.004, which is not below 1/n"):
        prepare(request_of(study=str(inputs.study), data=inputs.data, epsilons=(3.0,)))


def test_how_the_hospitals_are_run_is_kept(folder_study: FolderStudy) -> None:
    inputs = folder_study()
    request = request_of(
        study=str(inputs.study),
        data=inputs.data,
        epsilons=(3.0,),
        drop_out=0.1,
        no_masks=True,
        transcript=True,
    )
    settings = prepare(request).settings

    assert (settings.masked, settings.drop_out, settings.transcript) == (False, 0.1, True)


def test_groups_of_hospitals_that_are_not_there_are_refused(folder_study: FolderStudy) -> None:
    inputs = folder_study()
    with inputs.study.open("a") as file:
        file.write('[evaluation.groups]\neast = ["North", "nowhere"]\n')

    with pytest.raises(InputError, match="'nowhere', which is not in the roster"):
        prepare(request_of(study=str(inputs.study), data=inputs.data, epsilons=(3.0,)))
