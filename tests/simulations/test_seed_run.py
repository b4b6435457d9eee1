from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.common.privacy.accounting import epsilon_of
from fedward.common.study.definition import Study
from fedward.simulations.arms import Arm, arms_of
from fedward.simulations.conditions import Conditions
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import executed_events
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.run_folder import FinishedSeed, RunFolder
from fedward.simulations.seed_run import Progress, run_seed
from fedward.simulations.trainings import SplitHospitals, plan_of
from fedward.simulations.transcript import TRANSCRIPT_NAME, read_transcript

MakeStudy = Callable[..., Study]
MakeHospitals = Callable[..., Hospitals]


def arm_of(study: Study, kind: str, *, epsilon: float = 3.0) -> Arm:
    return next(arm for arm in arms_of(study, epsilons=(epsilon,)) if arm.kind == kind)


def run(
    arm: Arm,
    split: SplitHospitals,
    folder: Path,
    *,
    seed: int = 0,
    noise_seed: int | None = 1,
    recorded: bool = False,
    **conditions: Any,
) -> tuple[FinishedSeed, list[Progress]]:
    steps: list[Progress] = []
    done = run_seed(
        arm,
        split,
        seed=seed,
        engine=InProcessEngine(),
        folder=RunFolder(folder),
        conditions=Conditions(insecure_noise_seed=noise_seed, **conditions),
        on_progress=steps.append,
        recorded=recorded,
    )
    return done, steps


@pytest.fixture
def split(study: Study, make_hospitals: MakeHospitals) -> SplitHospitals:
    return SplitHospitals.of(make_hospitals(), study, seed=0)


def comparable(done: FinishedSeed) -> dict[str, Any]:
    """All of a seed but the time that it took, and the sessions if it was continued."""
    document = done.model_dump(exclude={"traffic"})
    del document["result"]["seconds"]
    return document


@pytest.mark.parametrize(
    "kind",
    ["alone", "pooled", "federated", "pooled_private", "federated_local", "federated_distributed"],
)
def test_every_arm_is_trained_judged_and_accounted(
    study: Study, split: SplitHospitals, tmp_path: Path, kind: str
) -> None:
    arm = arm_of(study, kind)
    done, steps = run(arm, split, tmp_path)
    rounds = arm.study.training.rounds

    assert set(done.result.by_site) == {"north", "south", "west"}
    patients = [cohort.patient_count for cohort in split.held_out.values()]
    assert [one.patients for one in done.result.by_site.values()] == patients
    assert done.result.overall.patients == len(done.target) == sum(patients)
    assert len(done.probability) == len(done.target)
    assert [point.round for point in done.rounds] == list(range(1, rounds + 1))
    assert steps[-1].round == rounds
    federated = arm.grouping == "federated"
    assert (done.traffic is not None) == (done.charged is not None) == federated
    # Whoever trains alone has nobody to mask with.
    assert done.masked == federated
    assert done.notes == []
    if arm.protected:
        assert done.epsilon is not None
        assert 0.95 * 3 < done.epsilon <= 3
        assert done.epsilon_alone is not None
        assert done.epsilon_alone >= done.epsilon
        assert done.cross_check is not None
        assert done.rounds[-1].epsilon == pytest.approx(done.epsilon, abs=0.02)
    else:
        assert (done.epsilon, done.epsilon_alone, done.cross_check) == (None, None, None)
        assert all(point.epsilon is None for point in done.rounds)


def test_a_model_without_noise_learns(
    make_study: MakeStudy, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    study = make_study(
        training={"method": "distributed", "rounds": 30, "learning_rate": 4.0, "momentum": 0.5}
    )
    split = SplitHospitals.of(make_hospitals(), study, seed=0)

    for kind in ("alone", "pooled", "federated"):
        done, _ = run(arm_of(study, kind), split, tmp_path / kind)
        assert done.result.overall.auroc is not None
        assert done.result.overall.auroc > 0.8
        assert done.rounds[-1].log_loss < done.rounds[0].log_loss


def test_epsilon_is_accounted_from_what_was_executed(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    arm = arm_of(study, "federated_distributed")
    done, _ = run(arm, split, tmp_path)
    kept = RunFolder(tmp_path).checkpoints(arm.key, 0, "all").load()
    plan = plan_of(arm, sites=3)

    assert kept is not None
    whole, alone = zip(
        *(
            executed_events(kept[1], site=site, part=part)
            for site in split.training
            for part in ("training", "held_out")
        ),
        strict=True,
    )
    delta = plan.accounting_delta
    assert done.epsilon == max(epsilon_of(events, delta=delta) for events in whole)
    assert done.epsilon_alone == max(epsilon_of(events, delta=delta) for events in alone)


def test_a_hospital_alone_is_judged_by_its_own_model(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    _, steps = run(arm_of(study, "alone"), split, tmp_path)

    # One training of its own for each hospital, and each with all its rounds.
    assert [step.round for step in steps] == list(range(5)) * 3
    folders = {path.name for path in (tmp_path / "trainings" / "alone" / "seed-0").iterdir()}
    assert folders == {"north", "south", "west"}
    kept = RunFolder(tmp_path).checkpoints("alone", 0, "south").load()
    assert kept is not None
    assert {record.site for record in kept[1]} == {"south"}


def test_a_hospital_named_like_the_training_of_all_is_still_one_hospital(
    study: Study, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    usual_split = SplitHospitals.of(make_hospitals(), study, seed=0)
    names = ("north", "all", "west")
    split = SplitHospitals(
        training=dict(zip(names, usual_split.training.values(), strict=True)),
        held_out=dict(zip(names, usual_split.held_out.values(), strict=True)),
    )

    named, _ = run(arm_of(study, "alone"), split, tmp_path / "named")
    usual, _ = run(arm_of(study, "alone"), usual_split, tmp_path / "usual")

    assert named.probability == usual.probability
    assert list(named.result.by_site.values()) == list(usual.result.by_site.values())


def test_a_hospital_may_have_more_patients_than_the_study_declares(
    make_study: MakeStudy, make_hospitals: MakeHospitals, tmp_path: Path
) -> None:
    # Delta is below 1/(10 n) for the declared n and above it for the hospital's own.
    study = make_study(cohort={"expected_patients": 10}, privacy={"delta": 9e-3})
    split = SplitHospitals.of(make_hospitals(), study, seed=0)

    done, _ = run(arm_of(study, "alone"), split, tmp_path)

    assert set(done.result.by_site) == {"north", "south", "west"}


def test_the_same_seed_gives_the_same_result_and_another_another(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    arm = arm_of(study, "federated_distributed")
    first, again, other_seed, other_noise = (
        run(arm, split, tmp_path / str(number), seed=seed, noise_seed=noise)[0]
        for number, (seed, noise) in enumerate([(0, 1), (0, 1), (2, 1), (0, 9)])
    )

    assert comparable(first) == comparable(again)
    digests = {done.result.model_digest for done in (first, other_seed, other_noise)}
    assert len(digests) == 3


def test_arms_at_two_epsilons_do_not_share_noise(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    # One insecure seed for all arms: noise of one must not tell that of another.
    released = set()
    for epsilon in (2.0, 3.0):
        arm = arm_of(study, "federated_distributed", epsilon=epsilon)
        run(arm, split, tmp_path)
        kept = RunFolder(tmp_path).checkpoints(arm.key, 0, "all").load()
        assert kept is not None
        assert kept[0].run_id.split("/")[1] == arm.key
        released |= {record.release_digest for record in kept[1]}

    # Moments, four rounds and the evaluation.
    assert len(released) == 2 * 3 * 6


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("kind", ["alone", "federated_distributed", "federated_local"])
def test_a_seed_killed_at_any_round_and_continued_is_the_same(
    study: Study, split: SplitHospitals, tmp_path: Path, kind: str
) -> None:
    arm = arm_of(study, kind)
    whole, steps = run(arm, split, tmp_path / "whole")

    for last in range(len(steps)):
        folder, seen = tmp_path / f"killed-{last}", []

        def die(step: Progress, seen: list[Progress] = seen, last: int = last) -> None:
            seen.append(step)
            if len(seen) > last:
                raise Killed

        with pytest.raises(Killed):
            run_seed(
                arm,
                split,
                seed=0,
                engine=InProcessEngine(),
                folder=RunFolder(folder),
                conditions=Conditions(insecure_noise_seed=1),
                on_progress=die,
            )
        continued, _ = run(arm, split, folder)
        assert comparable(continued) == comparable(whole)


@pytest.mark.parametrize("kind", ["pooled", "federated_distributed"])
def test_the_model_is_kept_beside_its_digest(
    study: Study, split: SplitHospitals, tmp_path: Path, kind: str
) -> None:
    arm = arm_of(study, kind)
    done, _ = run(arm, split, tmp_path)
    with np.load(tmp_path / "models" / f"{arm.key}-seed-0.npz", allow_pickle=False) as model:
        digest = hashlib.sha256()
        for name in ("parameters", "center", "scale"):
            digest.update(model[name].tobytes())

    assert done.result.model_digest == digest.hexdigest()


def test_hospitals_alone_keep_no_common_model(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    run(arm_of(study, "alone"), split, tmp_path)

    assert not (tmp_path / "models").exists()


def test_what_crossed_and_what_was_measured_is_told(
    make_study: MakeStudy, split: SplitHospitals, tmp_path: Path
) -> None:
    study = make_study(
        statistics={"budget_share": 0.1},
        evaluation={"per_site": True},
        training={"method": "distributed", "rounds": 4, "learning_rate": 1.0},
    )
    done, _ = run(arm_of(study, "federated_distributed"), split, tmp_path)

    assert done.traffic is not None
    kinds = {one.kind: one.sums for one in done.traffic.by_kind}
    assert kinds == {
        "moments": 1, "training": 4, "evaluation": 1, "site_evaluation": 1, "counts": 1,
    }  # fmt: skip
    assert (done.traffic.sites, done.traffic.sessions, done.traffic.lost) == (3, 1, 0)
    assert done.traffic.exchanges == 1 + sum(kinds.values())
    # Four ring elements, a signature and a header.
    assert 4 * 8 + 64 < done.traffic.bytes_up < 2000
    assert done.traffic.seconds_in_masks is not None
    assert done.charged is not None
    (group,) = done.charged.groups
    assert (group.name, group.sites) == ("all", ["north", "south", "west"])
    assert [one.name for one in done.charged.by_site] == ["north", "south", "west"]
    assert group.figures["accuracy"].full_view == pytest.approx(done.result.overall.accuracy)
    for one in done.charged.by_site:
        exact = done.result.by_site[one.name]
        assert one.figures["patients"].full_view == exact.patients
        assert one.figures["brier"].full_view == pytest.approx(exact.brier)
    patients = sum(cohort.patient_count for cohort in split.training.values())
    assert sum(one.full_view or 0 for one in done.charged.counts.values()) == patients


def test_without_masks_the_model_is_the_same_and_said_to_be_bare(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    arm = arm_of(study, "federated_distributed")
    masked, _ = run(arm, split, tmp_path / "masked")
    bare, _ = run(arm, split, tmp_path / "bare", masked=False)

    assert (masked.masked, bare.masked) == (True, False)
    assert comparable(masked) | {"masked": False} == comparable(bare)


def test_lost_attempts_cost_rounds_and_are_told(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    arm = arm_of(study, "federated_distributed")
    done, steps = run(arm, split, tmp_path, drop_out=0.1, seed=12)

    assert done.traffic is not None
    assert done.traffic.lost > 0
    # Nothing was paid for in advance, so what was lost is missing at the end.
    assert done.rounds[-1].round == steps[-1].round < arm.study.training.rounds
    assert any("lost attempts used up" in note for note in done.notes)
    assert done.epsilon is not None
    assert 0.95 * 3 < done.epsilon <= 3


def test_a_recorded_seed_leaves_a_transcript(
    study: Study, split: SplitHospitals, tmp_path: Path
) -> None:
    arm = arm_of(study, "federated_distributed")
    run(arm, split, tmp_path / "recorded", recorded=True)
    run(arm, split, tmp_path / "plain")

    lines = read_transcript(tmp_path / "recorded" / TRANSCRIPT_NAME)
    # A session, the moments, four rounds and the evaluation, both ways at three sites.
    assert len(lines) == 2 * 3 * 7
    assert not (tmp_path / "plain" / TRANSCRIPT_NAME).exists()
