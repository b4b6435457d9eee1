from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedward.client.vault.held_out_sum
from fedward.client.cohort import Cohort
from fedward.client.vault.held_out_sum import held_out_sum, patient_scores
from fedward.common.models.logistic_regression import LogisticRegression
from fedward.common.models.mlp import Mlp
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions, study_model
from fedward.common.study.scaling import Scaler

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
Floats = NDArray[np.float64]
LOUD = 2.0**60
MODELS: dict[str, dict[str, Any]] = {
    "logistic regression": {"name": "logistic_regression"},
    "relu": {"name": "mlp", "options": {"hidden": [17]}},
    "tanh": {"name": "mlp", "options": {"hidden": [16, 19], "activation": "tanh"}},
}
PARAMETERS = np.array([2.0, -1.0, 0.5, 0.1])


def test_a_patient_is_the_mean_of_its_rows_against_its_majority_outcome(study: Study) -> None:
    features = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0], [0, 0, 1.0], [0, 0, 1.0]])
    cohort = Cohort(
        features=features,
        target=np.array([1.0, 0.0, 0.0, 1.0, 0.0]),
        offsets=np.array([0, 3, 5]),
    )

    probability, outcome = patient_scores(study_model(study), PARAMETERS, cohort)

    logits = np.array([2.1, -0.9, 0.1, 0.6, 0.6])
    by_row = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(probability, [by_row[:3].mean(), by_row[3]], atol=1e-15)
    # One of three rows is positive, and one of two: a tie counts as positive.
    assert outcome.tolist() == [0.0, 1.0]


def test_without_patients_the_sum_is_zero(study: Study, make_cohort: MakeCohort) -> None:
    nobody = make_cohort().take(np.zeros(0, dtype=np.int64))

    probability, outcome = patient_scores(study_model(study), PARAMETERS, nobody)
    total = held_out_sum(study, PARAMETERS, nobody)

    assert probability.shape == outcome.shape == (0,)
    assert total.tolist() == [0.0] * Dimensions.of(study).evaluation


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6, 1e300])
def test_any_patient_moves_the_sum_by_one_at_most(
    study: Study, make_cohort: MakeCohort, scale: float
) -> None:
    cohort = make_cohort(40)
    total = held_out_sum(study, scale * PARAMETERS, cohort)

    for left_out in range(40):
        rest = cohort.take(np.delete(np.arange(40), left_out))
        change = np.linalg.norm(total - held_out_sum(study, scale * PARAMETERS, rest))
        assert 0.9 < change <= 1.0


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_patient_that_a_diverged_model_cannot_predict_adds_nothing(
    study: Study, make_cohort: MakeCohort
) -> None:
    # Infinity minus infinity, in the one patient whose features are not zero.
    cohort = make_cohort(20)
    features = np.zeros_like(cohort.features)
    features[: cohort.offsets[1]] = [1.0, 1.0, 0.0]
    diverged = Cohort(features=features, target=cohort.target, offsets=cohort.offsets)
    parameters = np.array([np.finfo(float).max, np.finfo(float).max, 0.0, -np.inf])

    total = held_out_sum(study, parameters, diverged)

    rest = diverged.take(np.arange(1, 20))
    assert np.isfinite(total).all()
    assert total.tolist() == held_out_sum(study, parameters, rest).tolist()
    assert total.any()


def at_the_clip(study: Study, patients: int, *, most_rows: int) -> Cohort:
    """Patients whose features all become the scaler's clip, as for a center chosen far away."""
    columns = Dimensions.of(study).columns
    generator = np.random.default_rng(patients)
    counts = generator.integers(1, most_rows + 1, patients)
    far = Scaler(
        center=np.full(columns, -100.0),
        scale=np.ones(columns),
        feature_clip=study.scaling.feature_clip,
    )
    return Cohort(
        features=far.apply(generator.uniform(-1, 1, (int(counts.sum()), columns))),
        target=np.ones(int(counts.sum())),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
    )


def sums_in_many_orders(row: Floats, weights: Floats) -> set[float]:
    """What a product of these may round to."""
    terms = row * weights
    orders = [terms, terms[::-1], *(np.roll(terms, shift) for shift in range(1, len(terms)))]
    in_turn = {float(np.add.accumulate(order)[-1]) for order in orders}
    beside_others = np.tile(row, (47, 1))
    return in_turn | {float(z) for n in (1, 46, 47) for z in beside_others[:n] @ weights}


def attacks(study: Study, row: Floats) -> Iterator[Floats]:
    """Parameters that make of each rounding of a row's product another patient's score.

    Weights that cancel against the bias, and then times 2^60: a patient's logit is 0, or it is the
    last bit of a product made into a certainty.
    """
    model = study_model(study)
    generator = np.random.default_rng(0)
    for _ in range(6):
        if isinstance(model, LogisticRegression):
            weights = generator.standard_normal(model.columns)
            for total in sums_in_many_orders(row, weights):
                yield LOUD * np.append(weights, -total)
            continue
        assert isinstance(model, Mlp)
        first, *_, last = model.layers
        weights = generator.standard_normal(model.columns)
        for total in sums_in_many_orders(row, weights):
            # The first layer's rounding, through all that follow.
            flat = np.zeros(model.parameter_count)
            for layer in model.layers:
                layer.weight(flat)[0, 0] = 1.0
            first.weight(flat)[0] = LOUD * weights
            first.bias(flat)[0] = -LOUD * total
            last.weight(flat)[0, 0] = LOUD
            last.bias(flat)[0] = -1e-3
            yield flat
        weights = generator.uniform(-1.0, 1.0, last.inputs)
        for total in sums_in_many_orders(np.ones(last.inputs), weights):
            # The last layer's, with all its inputs at one.
            flat = np.zeros(model.parameter_count)
            for layer in model.layers[:-1]:
                layer.bias(flat)[:] = 1.0 if study.model.options.get("activation") is None else 50.0
            last.weight(flat)[0] = LOUD * weights
            last.bias(flat)[0] = -LOUD * total
            yield flat


@pytest.mark.parametrize("most_rows", [1, 3])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_no_parameters_let_a_patient_move_another_ones_score(
    make_study: MakeStudy, model: dict[str, Any], most_rows: int
) -> None:
    study = make_study(columns=13, model=model)
    family = study_model(study)
    for patients in range(40, 49, 1 if most_rows == 1 else 4):
        cohort = at_the_clip(study, patients, most_rows=most_rows)
        for parameters in list(attacks(study, cohort.features[0]))[:: 1 if patients == 40 else 7]:
            total = held_out_sum(study, parameters, cohort)
            probability, _ = patient_scores(family, parameters, cohort)
            for left_out in range(0, patients, 3):
                kept = np.delete(np.arange(patients), left_out)
                rest = cohort.take(kept)
                change = np.linalg.norm(total - held_out_sum(study, parameters, rest))
                assert 0.9 < change <= 1.0
                found, _ = patient_scores(family, parameters, rest)
                assert found.tobytes() == probability[kept].tobytes()


def test_a_product_that_treats_its_last_rows_otherwise_would_be_found_out(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(columns=13)

    def with_a_tail(_model: object, parameters: Floats, features: Floats) -> Floats:
        terms = features * parameters[:-1]
        logits = np.add.accumulate(terms, axis=1)[:, -1]
        tail = len(features) // 8 * 8
        logits[tail:] = np.add.accumulate(terms[tail:, ::-1], axis=1)[:, -1]
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-logits - parameters[-1])))

    monkeypatch.setattr(fedward.client.vault.held_out_sum, "row_probabilities", with_a_tail)
    cohort = at_the_clip(study, 48, most_rows=1)
    rest = cohort.take(np.arange(47))

    changes = [
        np.linalg.norm(
            held_out_sum(study, parameters, cohort) - held_out_sum(study, parameters, rest)
        )
        for parameters in attacks(study, cohort.features[0])
    ]
    assert max(changes) > 3.0


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("scale", [1.0, 1e3, LOUD])
def test_a_patients_score_depends_on_its_own_rows_alone(
    make_study: MakeStudy, make_cohort: MakeCohort, model: dict[str, Any], scale: float
) -> None:
    study = make_study(columns=13, model=model)
    family = study_model(study)
    generator = np.random.default_rng(1)
    cohort = make_cohort(300, columns=13, most_rows=40)
    parameters = scale * generator.standard_normal(family.parameter_count)
    probability, outcome = patient_scores(family, parameters, cohort)
    assert len(np.unique(probability)) > (2 if scale == LOUD else 100)

    for size in (1, 2, 3, 17, 150, 299, 300):
        some = generator.permutation(300)[:size]
        found = patient_scores(family, parameters, cohort.take(some))
        assert found[0].tobytes() == probability[some].tobytes()
        assert found[1].tobytes() == outcome[some].tobytes()
