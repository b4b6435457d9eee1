from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import KernelOptions, clipped_gradient_sum
from fedward.common.models.registry import ModelFamily, build_model
from fedward.common.study.definition import Model

EXACT = KernelOptions(precision="float64")
MODELS = [
    Model(name="logistic_regression"),
    Model(name="mlp", options={"hidden": [6, 4]}),
    Model(name="mlp", options={"hidden": [5], "activation": "tanh"}),
]
KERNELS = [
    KernelOptions(),
    KernelOptions(precision="float64"),
    KernelOptions(block_rows=7),
    KernelOptions(kernel="opacus", precision="float64"),
    KernelOptions(kernel="opacus", block_rows=5),
]
each_model = pytest.mark.parametrize("section", MODELS, ids=lambda m: f"{m.name}-{len(m.options)}")
each_kernel = pytest.mark.parametrize(
    "performance", KERNELS, ids=lambda k: f"{k.kernel}-{k.precision}-{k.block_rows}"
)


def _random(section: Model, columns: int, seed: int = 0) -> tuple[ModelFamily, NDArray[np.float64]]:
    model = build_model(section, columns=columns)
    return model, 0.7 * np.random.default_rng(seed).standard_normal(model.parameter_count)


@settings(max_examples=60, deadline=None)
@given(section=st.sampled_from(MODELS), data=st.data())
def test_closed_form_is_brute_force(
    make_cohort: Any, brute_force: Any, section: Model, data: st.DataObject
) -> None:
    columns = data.draw(st.integers(1, 6))
    counts = data.draw(st.lists(st.integers(1, 45), min_size=1, max_size=6))
    clip = data.draw(st.floats(1e-3, 10))
    block_rows = data.draw(st.integers(1, 100))
    seed = data.draw(st.integers(0, 2**32))
    model, parameters = _random(section, columns, seed)
    cohort = make_cohort(counts, columns, seed)
    performance = KernelOptions(kernel="closed_form", precision="float64", block_rows=block_rows)
    found = clipped_gradient_sum(
        model, parameters, cohort, None, clip=clip, performance=performance
    )
    expected = brute_force(model, parameters, cohort, clip)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * clip * len(counts))


@each_model
@each_kernel
def test_every_kernel_agrees_on_chosen_patients(
    make_cohort: Any, brute_force: Any, section: Model, performance: KernelOptions
) -> None:
    cohort: Cohort = make_cohort([1, 3, 1, 40, 2, 1, 9], 5)
    model, parameters = _random(section, 5)
    patients = np.array([5, 1, 3, 4])
    expected = brute_force(model, parameters, cohort.take(patients), 0.4)
    tolerance = 1e-12 if performance.precision == "float64" else 3e-6
    by_mask = np.isin(np.arange(7), patients)
    for choice in (patients, by_mask):
        found = clipped_gradient_sum(
            model, parameters, cohort, choice, clip=0.4, performance=performance
        )
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@each_model
@each_kernel
def test_one_patient_moves_the_sum_by_no_more_than_the_clip(
    make_cohort: Any, section: Model, performance: KernelOptions
) -> None:
    # 50 rows of one patient, patients of a few rows and of one, and values far out of range.
    cohort: Cohort = make_cohort([1, 50, 2, 1, 7, 1], 5, scale=1e4)
    model, parameters = _random(section, 5)
    clip = 0.3
    whole = clipped_gradient_sum(
        model, parameters, cohort, None, clip=clip, performance=performance
    )
    moved = []
    for patient in range(6):
        others = np.delete(np.arange(6), patient)
        rest = clipped_gradient_sum(
            model, parameters, cohort, others, clip=clip, performance=performance
        )
        moved.append(np.linalg.norm(whole - rest))
    assert max(moved) <= clip * (1 + 1e-9)
    assert max(moved) >= clip * (1 - 1e-6), "the clip never bound, so nothing was shown"


@each_model
@each_kernel
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6, 1e12, 1e25, 1e150])
@pytest.mark.parametrize("rows", [1, 2, 31, 60])
def test_no_patient_alone_exceeds_the_clip(
    make_cohort: Any, section: Model, performance: KernelOptions, scale: float, rows: int
) -> None:
    model, parameters = _random(section, 3)
    cohort = make_cohort([rows], 3, scale=scale)
    found = clipped_gradient_sum(model, parameters, cohort, None, clip=0.5, performance=performance)
    assert np.linalg.norm(found) <= 0.5 * (1 + 1e-9)


@each_model
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rows_that_cancel_do_not_slip_past_the_clip(section: Model, precision: Any) -> None:
    # Two rows whose gradients are huge and nearly opposite: a norm taken as a difference of Gram
    # products is pure rounding here.
    model, parameters = _random(section, 3)
    parameters = parameters * 1e-9
    row = np.array([3e7, -2e7, 1e7])
    cohort = Cohort(
        features=np.array([row, row * (1 + 1e-7), [0.1, 0.2, 0.3]]),
        target=np.array([0.0, 1.0, 1.0]),
        offsets=np.array([0, 2, 3]),
    )
    clip = 1e-3
    performance = KernelOptions(precision=precision)
    found = clipped_gradient_sum(
        model, parameters, cohort, np.array([0]), clip=clip, performance=performance
    )
    assert np.linalg.norm(found) <= clip * (1 + 1e-9)
    both = clipped_gradient_sum(model, parameters, cohort, None, clip=clip, performance=performance)
    alone = clipped_gradient_sum(
        model, parameters, cohort, np.array([1]), clip=clip, performance=performance
    )
    np.testing.assert_allclose(both, found + alone, rtol=0, atol=1e-15)


@each_model
@each_kernel
def test_the_clip_is_of_the_patient_not_of_a_row_or_a_layer(
    make_cohort: Any, patient_gradients: Any, section: Model, performance: KernelOptions
) -> None:
    model, parameters = _random(section, 4)
    cohort = make_cohort([6], 4, scale=3.0)
    gradient = patient_gradients(model, parameters, cohort)[0]
    norm = np.linalg.norm(gradient)
    below = clipped_gradient_sum(
        model, parameters, cohort, None, clip=1.01 * norm, performance=performance
    )
    np.testing.assert_allclose(below, gradient, rtol=0, atol=3e-6 * norm)
    binding = clipped_gradient_sum(
        model, parameters, cohort, None, clip=norm / 3, performance=performance
    )
    np.testing.assert_allclose(binding, gradient / 3, rtol=0, atol=3e-6 * norm)


@each_model
@each_kernel
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_patient_that_is_not_finite_counts_as_zero(
    make_cohort: Any, section: Model, performance: KernelOptions, poison: float
) -> None:
    cohort: Cohort = make_cohort([1, 4, 1, 60, 1, 3], 5)
    model, parameters = _random(section, 5)
    features = cohort.features.copy()
    features[cohort.offsets[1] + 2, 3] = poison
    features[cohort.offsets[3] + 59, 0] = poison
    features[cohort.offsets[4], 1] = poison
    poisoned = Cohort(features=features, target=cohort.target, offsets=cohort.offsets)
    found = clipped_gradient_sum(
        model, parameters, poisoned, None, clip=0.4, performance=performance
    )
    expected = clipped_gradient_sum(
        model, parameters, cohort, np.array([0, 2, 5]), clip=0.4, performance=performance
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


@each_model
@each_kernel
def test_a_term_is_the_same_to_the_bit_in_any_company(
    make_cohort: Any, section: Model, performance: KernelOptions
) -> None:
    # The company counts as zero (NaN), so that the sum is the one patient's term.
    model, parameters = _random(section, 5)
    for rows in (1, 2, 5, 33):
        patient: Cohort = make_cohort([rows], 5, seed=rows)
        seen = set()
        for before in (0, 1, 2, 5, 17, 31):
            counts = [1] * before + [rows] + [2] * (34 - before)
            features = np.full((sum(counts), 5), np.nan)
            features[before : before + rows] = patient.features
            target = np.zeros(sum(counts))
            target[before : before + rows] = patient.target
            cohort = Cohort(
                features=features,
                target=target,
                offsets=np.concatenate([[0], np.cumsum(counts)]),
            )
            term = clipped_gradient_sum(
                model, parameters, cohort, None, clip=0.4, performance=performance
            )
            seen.add((term + 0.0).tobytes())
        assert len(seen) == 1


@each_model
@each_kernel
def test_nobody_gives_zeros(make_cohort: Any, section: Model, performance: KernelOptions) -> None:
    model, parameters = _random(section, 5)
    cohort = make_cohort([1, 2], 5)
    empty = Cohort(features=np.zeros((0, 5)), target=np.zeros(0), offsets=np.array([0]))
    for people, choice in (
        (cohort, np.array([], dtype=np.int64)),
        (cohort, np.zeros(2, dtype=np.bool_)),
        (empty, None),
    ):
        found = clipped_gradient_sum(
            model, parameters, people, choice, clip=1.0, performance=performance
        )
        np.testing.assert_array_equal(found, np.zeros(model.parameter_count))


def test_float64_target_gradient_is_not_float32(make_cohort: Any, brute_force: Any) -> None:
    model, parameters = _random(MODELS[1], 5)
    cohort = make_cohort([1] * 20, 5)
    found = clipped_gradient_sum(model, parameters, cohort, None, clip=0.4, performance=EXACT)
    np.testing.assert_allclose(
        found, brute_force(model, parameters, cohort, 0.4), rtol=0, atol=1e-14
    )


def test_parameters_and_data_are_left_alone(make_cohort: Any) -> None:
    for section in MODELS:
        model, parameters = _random(section, 5)
        cohort = make_cohort([1, 2, 40], 5)
        before = parameters.copy(), cohort.features.copy()
        first = clipped_gradient_sum(model, parameters, cohort, None, clip=0.1)
        kept = first.copy()
        clipped_gradient_sum(model, parameters, cohort, np.array([1]), clip=0.1)
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(parameters, before[0])
        np.testing.assert_array_equal(cohort.features, before[1])


def test_wrong_calls_are_refused(make_cohort: Any) -> None:
    model, parameters = _random(MODELS[0], 5)
    cohort = make_cohort([1, 2], 5)
    call: Callable[..., Any] = clipped_gradient_sum
    for clip in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="clip"):
            call(model, parameters, cohort, None, clip=clip)
    with pytest.raises(ValueError, match="parameters"):
        call(model, parameters[:-1], cohort, None, clip=1.0)
    with pytest.raises(ValueError, match="columns"):
        call(*_random(MODELS[0], 4), cohort, None, clip=1.0)
    with pytest.raises(ValueError, match="registry"):
        call(object(), parameters, cohort, None, clip=1.0)
    with pytest.raises(ValueError, match="block_rows"):
        KernelOptions(block_rows=0)
