from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedward.client.vault.local_training
import fedward.client.vault.patient_sums
from fedward.client.cohort import Cohort
from fedward.client.vault.patient_sums import PatientSums, VaultPerformance
from fedward.client.vault.vault import Vault
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.protocol.releases import Answer, SumRelease
from fedward.common.secure_sum.ring import decode_units
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.common.study.scaling import Scaler
from fedward.common.study.score_sums import score_sum
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeVault = Callable[..., Vault]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]


def test_an_empty_batch_still_sends_noise(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study(
        training={
            "method": "distributed",
            "rounds": 2,
            "learning_rate": 1.0,
            "batch": "poisson",
            "sampling_rate": 0.5,
        }
    )
    monkeypatch.setattr(
        fedward.client.vault.patient_sums,
        "sampled_patients",
        lambda *_args, **_options: np.array([], dtype=np.int64),
    )
    release, total = ask(make_vault(study, masked=False), study, make_query(study))

    assert isinstance(release, SumRelease)
    assert total is not None
    # Each of four coordinates is exactly zero with a chance of about 2^-24.
    assert (total != 0).any()
    noise = decode_units(total, scale_bits=release.scale_bits)
    assert np.abs(noise).max() < 20 * study.privacy.clip * 10


def test_local_steps_over_empty_batches_still_send_noise(
    local_study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        fedward.client.vault.local_training,
        "sampled_patients",
        lambda *_args, **_options: np.array([], dtype=np.int64),
    )
    vault = make_vault(local_study, masked=False)
    _, total = ask(vault, local_study, make_query(local_study, "local_update"))

    assert total is not None
    assert (total != 0).all()


def test_a_batch_is_drawn_by_the_studys_rate(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = 20
    study = make_study(
        training={
            "method": "distributed",
            "rounds": rounds,
            "learning_rate": 1.0,
            "batch": "poisson",
            "sampling_rate": 0.25,
        }
    )
    batches: list[tuple[int, ...]] = []

    def record(
        _model: object, _parameters: object, _cohort: object, patients: NDArray[np.int64], **_: Any
    ) -> NDArray[np.float64]:
        batches.append(tuple(patients.tolist()))
        return np.zeros(4)

    monkeypatch.setattr(fedward.client.vault.patient_sums, "clipped_gradient_sum", record)
    vault = make_vault(study, cohort=make_cohort(400), noise_seed=1)
    for number in range(1, rounds + 1):
        ask(vault, study, make_query(study, round=number))

    share = sum(map(len, batches)) / (rounds * 400)
    assert share == pytest.approx(0.25, abs=6 * (0.25 * 0.75 / (rounds * 400)) ** 0.5)
    assert len(set(batches)) == rounds


def test_a_scaler_is_applied_and_a_new_one_replaces_it(
    make_study: MakeStudy, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    study = make_study()
    scale = {"scale": np.full(3, 0.5)}
    vaults = [make_vault(study, noise_seed=1, masked=False) for _ in range(3)]

    def totals(vault: Vault, *scalers: dict[str, NDArray[np.float64]]) -> list[bytes]:
        found = []
        for number, scaler in enumerate(scalers, start=1):
            _, total = ask(vault, study, make_query(study, round=number), **scaler)
            assert total is not None
            found.append(total.tobytes())
        return found

    wide, mixed, narrow = (
        totals(vaults[0], {}, {}, {}),
        totals(vaults[1], {}, scale, {}),
        totals(vaults[2], scale, scale, scale),
    )
    assert mixed == [wide[0], narrow[1], wide[2]]
    assert wide != narrow


@pytest.mark.parametrize("held_out", ["None", "empty"])
@pytest.mark.parametrize("kind", ["evaluation", "site_evaluation"])
def test_a_site_without_held_out_patients_still_sends_noise(
    study_for: Callable[[str], Study],
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    held_out: str,
    kind: str,
) -> None:
    study = study_for(kind)
    nobody = None if held_out == "None" else make_cohort().take(np.zeros(0, dtype=np.int64))
    vault = make_vault(study, held_out=nobody, masked=False, policy={"allow_site_evaluation": True})

    release, total = ask(vault, study, make_query(study, kind))

    assert isinstance(release, SumRelease)
    assert release.executed is not None
    assert total is not None
    noise = decode_units(total, scale_bits=release.scale_bits)
    assert len(np.unique(noise)) == len(noise) == Dimensions.of(study).evaluation
    sigma = release.executed.share_multiplier
    assert 0.5 * sigma < noise.std() < 2 * sigma


def quiet(vault_sum: NDArray[np.uint64] | None, release: Answer) -> NDArray[np.float64]:
    assert isinstance(release, SumRelease)
    assert vault_sum is not None
    return decode_units(vault_sum, scale_bits=release.scale_bits)


def test_held_out_patients_alone_are_evaluated_and_training_patients_counted(
    study_for: Callable[[str], Study],
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
) -> None:
    study = study_for("evaluation")
    training, held_out = make_cohort(40, seed=1), make_cohort(17, seed=2)
    vault = make_vault(
        study,
        cohort=training,
        held_out=held_out,
        protection=Unprotected(largest_site=100),
        policy={"allow_site_evaluation": True},
    )
    parameters = np.array([2.0, -1.0, 0.5, 0.1])
    scaler = {"center": np.array([0.1, 0.0, -0.1]), "scale": np.array([0.5, 1.0, 0.4])}

    def total(kind: str, **arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        release, elements = ask(vault, study, make_query(study, kind, roster=("site-0",)), **arrays)
        return quiet(elements, release)

    rows = np.clip((held_out.features - scaler["center"]) / scaler["scale"], -3.0, 3.0)
    chance = 1 / (1 + np.exp(-(rows @ parameters[:-1] + parameters[-1])))
    bounds = list(zip(held_out.offsets[:-1], held_out.offsets[1:], strict=True))
    expected = score_sum(
        np.array([chance[start:end].mean() for start, end in bounds]),
        np.array([float(held_out.target[start:end].mean() >= 0.5) for start, end in bounds]),
        threshold=study.evaluation.threshold,
        bins=study.evaluation.score_bins,
    )
    for kind in ("evaluation", "site_evaluation"):
        found = total(kind, parameters=parameters, **scaler)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert expected[:4].sum() == pytest.approx(17 * np.sqrt(0.5), rel=1e-6)

    outcomes = [
        float(training.target[start:end].mean() >= 0.5)
        for start, end in zip(training.offsets[:-1], training.offsets[1:], strict=True)
    ]
    assert total("counts").tolist() == [sum(outcomes), 40 - sum(outcomes)]


def test_local_steps_divide_by_the_sites_of_the_signed_roster(
    local_study: Study,
    federation: Any,
    open_run: Callable[..., Any],
    make_cohort: MakeCohort,
) -> None:
    # Not by those of the round: a step would grow with every site that drops out.
    changes = []
    for signed_sites, roster in ((3, 3), (3, 2), (9, 3)):
        names = tuple(f"site-{number}" for number in range(signed_sites))
        run = open_run(
            make_one_step(local_study),
            signed=federation.signed_for(names),
            cohort=make_cohort(),
            protection=Unprotected(largest_site=100),
            masked=False,
        )
        query = run.query("local_update", roster=names[:roster])
        release, total = run.ask("site-0", run.frame(query))
        changes.append(quiet(total, release))

    np.testing.assert_allclose(changes[1], changes[0], atol=1e-12)
    np.testing.assert_allclose(changes[2], 3 * changes[0], atol=1e-9)
    assert np.linalg.norm(changes[0]) > 1e-3


def make_one_step(study: Study) -> Study:
    training = study.training.model_copy(
        update={"epochs": 1, "sampling_rate": 1.0, "learning_rate": 0.01}
    )
    return study.model_copy(update={"training": training})


def test_a_query_at_the_same_time_lends_nobody_its_scaler(make_cohort: MakeCohort) -> None:
    mine, theirs = (
        Scaler(center=np.full(3, center), scale=np.ones(3), feature_clip=3.0)
        for center in (0.1, 0.9)
    )
    kept: list[Any] = []

    class Crowded(PatientSums):
        """Whatever is kept here is another query's at once."""

        @property
        def _scaled(self) -> Any:
            return kept[-1] if kept else None

        @_scaled.setter
        def _scaled(self, value: Any) -> None:
            if value is not None:
                kept.extend([value, (theirs, make_cohort(seed=9))])

    cohort = make_cohort()
    sums = Crowded(cohort=cohort, held_out=None, performance=VaultPerformance())
    for _ in range(2):
        found = sums._training_cohort(mine)
        np.testing.assert_array_equal(found.features, mine.apply(cohort.features))
    assert sums._training_cohort(theirs) is kept[-1][1]
