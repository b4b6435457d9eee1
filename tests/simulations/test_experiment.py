from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.client.cohort import Cohort
from fedward.common.errors import PrivacyRefusal
from fedward.common.study.definition import Study
from fedward.simulations.arms import Arm
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.experiment import (
    checked_arms,
    data_digest,
    recorded_arm,
    run_experiment,
)
from fedward.simulations.hospitals.hospital import Hospital, Hospitals
from fedward.simulations.results import ExperimentResult
from fedward.simulations.run_folder import ExperimentSettings, RunFolder
from fedward.simulations.seed_run import Progress

MakeStudy = Callable[..., Study]
MakeHospitals = Callable[..., Hospitals]


def settings_of(study: Study, hospitals: Hospitals, **changes: Any) -> ExperimentSettings:
    settings = ExperimentSettings(
        study=study,
        study_source="small.toml",
        data_folder=None,
        sites=3,
        data_digest=data_digest(hospitals),
        epsilons=(1.0, 3.0),
        seeds=(0, 1),
        insecure_noise_seed=4,
        command="fedward simulate",
        started="2026-01-01T00:00:00+00:00",
    )
    return settings.model_copy(update=changes)


def run(
    study: Study,
    hospitals: Hospitals,
    folder: RunFolder,
    arms: tuple[Arm, ...],
    on_progress: Callable[[Progress], None] = lambda _: None,
    **changes: Any,
) -> ExperimentResult:
    return run_experiment(
        settings_of(study, hospitals, **changes),
        hospitals,
        arms,
        engine=InProcessEngine(),
        folder=folder,
        notes=["A note."],
        on_progress=on_progress,
    )


def comparable(result: ExperimentResult) -> dict[str, Any]:
    """All of a result but how long it took, and in how many sessions."""
    document = result.model_dump(exclude={"seconds"})
    for arm in document["arms"]:
        del arm["traffic"]
        del arm["summary"]["seconds"]
        for seed in arm["seeds"]:
            del seed["seconds"]
    return document


def test_an_experiment_says_all_that_a_report_shows(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    hospitals = make_hospitals()
    arms = checked_arms(study, epsilons=(1.0, 3.0), sites=3)
    result = run(study, hospitals, RunFolder(tmp_path), arms)

    assert [arm.kind for arm in result.arms] == [arm.kind for arm in arms]
    assert [arm.target_epsilon for arm in result.arms] == [arm.target_epsilon for arm in arms]
    for arm in result.arms:
        assert [seed.seed for seed in arm.seeds] == [0, 1]
        if arm.target_epsilon is None:
            assert (arm.epsilon, arm.epsilon_alone, arm.delta) == (None, None, None)
        else:
            assert arm.epsilon is not None
            assert 0.95 * arm.target_epsilon < arm.epsilon <= arm.target_epsilon
            assert arm.epsilon_alone is not None
            assert arm.epsilon_alone >= arm.epsilon
            assert arm.delta == study.privacy.delta
            assert arm.cross_check is not None
            assert arm.cross_check.rdp >= arm.epsilon
    assert [site.name for site in result.sites] == ["north", "south", "west"]
    assert [site.training_patients + site.held_out_patients for site in result.sites] == [
        hospital.cohort.patient_count for hospital in hospitals.sites
    ]
    assert result.study_digest == study.digest
    assert result.insecure_noise_seed == 4
    assert result.notes == ["A note."]
    assert (result.masked, result.drop_out) == (True, 0.0)
    for arm, found in zip(arms, result.arms, strict=True):
        federated = arm.grouping == "federated"
        assert (found.traffic is not None) == federated
        assert [one.seed for one in found.charged_evaluation] == ([0, 1] if federated else [])
    assert {"python", "fedward", "flwr", "torch"} <= set(result.versions)
    assert ExperimentResult.model_validate_json(result.model_dump_json()) == result


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_experiment_killed_and_continued_is_the_same(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path, share: float
) -> None:
    hospitals = make_hospitals()
    arms = tuple(
        arm
        for arm in checked_arms(study, epsilons=(1.0, 3.0), sites=3)
        if arm.kind in {"alone", "federated", "federated_distributed"}
    )
    steps: list[Progress] = []
    whole = run(study, hospitals, RunFolder(tmp_path / "whole"), arms, steps.append)
    left = int(share * len(steps))

    def die(_: Progress) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    with pytest.raises(Killed):
        run(study, hospitals, RunFolder(tmp_path / "killed"), arms, die)
    again: list[Progress] = []
    continued = run(study, hospitals, RunFolder(tmp_path / "killed"), arms, again.append)

    assert comparable(continued) == comparable(whole)
    assert len(again) <= (1 - share) * len(steps) + 6


def test_a_finished_experiment_is_read_back_without_training(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    hospitals = make_hospitals()
    arms = checked_arms(study, epsilons=(3.0,), sites=3)[:4]
    first = run(study, hospitals, RunFolder(tmp_path), arms)
    steps: list[Progress] = []
    again = run(study, hospitals, RunFolder(tmp_path), arms, steps.append)

    assert steps == []
    assert again.model_dump(exclude={"seconds"}) == first.model_dump(exclude={"seconds"})


def test_an_epsilon_that_no_noise_meets_is_refused_before_anything_runs(
    study: Study, make_study: MakeStudy
) -> None:
    with pytest.raises(PrivacyRefusal):
        checked_arms(study, epsilons=(1e-9,), sites=3)
    with pytest.raises(PrivacyRefusal, match="minimum_sites"):
        checked_arms(make_study(cohort={"minimum_sites": 5}), epsilons=(1.0,), sites=3)


def altered(hospitals: Hospitals, **change: Any) -> Hospitals:
    first, *others = hospitals.sites
    cohort = Cohort(
        features=change.get("features", first.cohort.features),
        target=change.get("target", first.cohort.target),
        offsets=change.get("offsets", first.cohort.offsets),
    )
    return replace(hospitals, sites=(Hospital(change.get("name", first.name), cohort), *others))


def test_the_digest_of_the_data_sees_every_change(make_hospitals: MakeHospitals) -> None:
    hospitals = make_hospitals()
    cohort = hospitals.sites[0].cohort
    features, target = cohort.features.copy(), cohort.target.copy()
    features[0, 0] = np.nextafter(features[0, 0], 1)
    target[0] = 1 - target[0]
    rows = len(target)
    merged = np.array([0, *cohort.offsets[2:]])
    changes = [
        hospitals,
        altered(hospitals, name="other"),
        altered(hospitals, features=features),
        altered(hospitals, target=target),
        altered(hospitals, offsets=merged),
        replace(hospitals, sites=hospitals.sites[::-1]),
        replace(hospitals, sites=hospitals.sites[:2]),
    ]

    assert merged[-1] == rows
    assert len({data_digest(one) for one in changes}) == len(changes)
    assert data_digest(make_hospitals()) == data_digest(hospitals)
    assert data_digest(replace(hospitals, description="Other words.")) == data_digest(hospitals)


def some_arms(study: Study, *kinds: str) -> tuple[Arm, ...]:
    return tuple(arm for arm in checked_arms(study, epsilons=(3.0,), sites=3) if arm.kind in kinds)


def test_without_masks_the_result_says_so(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    arms = some_arms(study, "pooled", "federated_distributed")
    result = run(study, make_hospitals(), RunFolder(tmp_path), arms, masked=False)

    assert result.masked is False


def test_a_seed_that_comes_to_no_end_is_a_note_where_hospitals_are_made_to_fail(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    hospitals = make_hospitals()
    arms = some_arms(study, "pooled", "federated_distributed")
    seeds = tuple(range(6))
    result = run(
        study, hospitals, RunFolder(tmp_path), arms, seeds=seeds, drop_out=0.25, masked=False
    )
    pooled, federated = result.arms

    assert len(pooled.seeds) == 6
    ended = [note for note in result.notes if "There is no model" in note]
    assert all("sites are left" in note or "budget pays for no other" in note for note in ended)
    # Each is either there or told to be missing; with these failures there are both.
    assert 0 < len(federated.seeds) < 6
    missing = set(seeds) - {seed.seed for seed in federated.seeds}
    assert {seed for seed in seeds for note in ended if f"{seed}" in note.split(":")[0]} >= missing
    assert result.drop_out == 0.25
    assert all("federated, distributed DP, ε = 3, seed" in note for note in result.notes[1:])


def test_an_arm_of_which_nothing_is_left_is_left_out(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    arms = some_arms(study, "pooled", "federated_distributed")
    result = run(
        study, make_hospitals(), RunFolder(tmp_path), arms, seeds=(0,), drop_out=0.49, masked=False
    )

    assert [arm.kind for arm in result.arms] == ["pooled"]
    assert "There is no model" in result.notes[-1]


@pytest.mark.parametrize("local", [False, True])
def test_a_transcript_is_of_the_study_as_its_hospitals_run_it(
    study: Study, local_study: Study, local: bool
) -> None:
    chosen = local_study if local else study
    arms = checked_arms(chosen, epsilons=(1.0, 3.0), sites=3)
    arm = recorded_arm(arms, chosen)

    assert (arm.kind, arm.target_epsilon) == (
        "federated_local" if local else "federated_distributed",
        3.0,
    )
