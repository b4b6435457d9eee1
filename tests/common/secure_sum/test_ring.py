from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedward.common.errors import PrivacyRefusal
from fedward.common.secure_sum.ring import RingCodec, decode_units


def codec(**changes: object) -> RingCodec:
    facts: dict[str, object] = {
        "clip": 1.0,
        "length": 5,
        "max_patients": 1000,
        "sites": 4,
        "noise_multiplier": 10.0,
    }
    return RingCodec(**{**facts, **changes})  # type: ignore[arg-type]


@given(clip=st.floats(1e-6, 1e9))
def test_scale_is_the_smallest_power_of_two_that_resolves_the_clip(clip: float) -> None:
    ring = codec(clip=clip)
    assert ring.scale == 2.0**ring.scale_bits
    assert 2**24 <= clip * ring.scale < 2**25
    finer = codec(clip=clip, resolution_bits=30)
    assert 2**30 <= clip * finer.scale < 2**31


@given(
    values=arrays(np.float64, 5, elements=st.floats(-400, 400)),
    clip=st.sampled_from([0.01, 0.7, 1.0, 3.0, 1e7]),
)
def test_decoding_returns_what_was_encoded_to_half_a_unit(values: np.ndarray, clip: float) -> None:
    ring = codec(clip=clip)
    values = values * clip
    back = ring.decode(ring.encode(values))
    assert np.abs(back - values).max() <= 0.5 / ring.scale
    assert np.array_equal(decode_units(ring.encode(values), scale_bits=ring.scale_bits), back)


@given(
    parts=st.lists(arrays(np.float64, 5, elements=st.floats(-400, 400)), min_size=1, max_size=4),
    masks=arrays(np.uint64, (4, 5)),
)
def test_masks_cancel_and_the_order_does_not_matter(
    parts: list[np.ndarray], masks: np.ndarray
) -> None:
    ring = codec()
    encoded = [ring.encode(part) for part in parts]
    masks = masks[: len(parts)].copy()
    masks[-1] = -masks[:-1].sum(axis=0, dtype=np.uint64)
    masked = [e + m for e, m in zip(encoded, masks, strict=True)]
    plain = np.sum(encoded, axis=0, dtype=np.uint64)
    assert np.array_equal(np.sum(masked, axis=0, dtype=np.uint64), plain)
    assert np.array_equal(np.sum(masked[::-1], axis=0, dtype=np.uint64), plain)
    exact = np.sum([np.rint(part * ring.scale) for part in parts], axis=0) / ring.scale
    assert np.array_equal(ring.decode(plain), exact)


@given(
    seed=st.integers(0, 2**32),
    patients=st.integers(1, 60),
    length=st.integers(1, 40),
    clip=st.sampled_from([0.3, 1.0, 50.0]),
)
def test_one_patient_moves_the_encoded_sum_by_no_more_than_the_sensitivity(
    seed: int, patients: int, length: int, clip: float
) -> None:
    generator = np.random.default_rng(seed)
    gradients = generator.normal(size=(patients, length))
    gradients *= clip / np.linalg.norm(gradients, axis=1, keepdims=True)
    ring = codec(clip=clip, length=length)
    with_all = ring.encode(gradients.sum(axis=0)).view(np.int64)
    # The neighbour adds up in another order, as a real one may.
    without = gradients[1:][generator.permutation(patients - 1)].sum(axis=0)
    moved = with_all - ring.encode(without).view(np.int64)
    distance = float(np.linalg.norm(moved.astype(np.float64)))
    assert distance <= ring.sensitivity_units
    assert distance > 0.99 * clip * ring.scale


def test_sensitivity_charges_rounding_and_summation() -> None:
    ring = codec(length=10**6)
    assert ring.sensitivity_units == pytest.approx(2**24 * (1 + 2**-16) + 1000)
    assert codec(max_patients=2**20).sensitivity_units / 2**24 == pytest.approx(
        1 + 2**-12, abs=1e-5
    )


def test_the_multiplier_is_what_remains_after_smoothing() -> None:
    ring = codec()
    sigma = ring.noise_sigma_units(2.5)
    assert math.sqrt(sigma**2 - 16) == pytest.approx(2.5 * ring.sensitivity_units, rel=1e-12)
    assert sigma > 2.5 * 2**24


@pytest.mark.parametrize("multiplier", [0.0, -1.0, math.nan, math.inf])
def test_noise_needs_a_multiplier(multiplier: float) -> None:
    with pytest.raises(ValueError, match="multiplier"):
        codec().noise_sigma_units(multiplier)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_patients": 2**24, "sites": 10_000, "resolution_bits": 30},
        {"noise_multiplier": 2.0**22},
        {"sites": 2**40},
        {"max_patients": 2**40},
        {"max_patients": 2**27},
    ],
)
def test_what_could_overflow_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PrivacyRefusal, match="max_patients_per_site"):
        codec(**changes)


def test_the_largest_study_fits() -> None:
    ring = codec(max_patients=2**20, sites=10_000, noise_multiplier=1000.0, length=10**7)
    largest = ring.sites * (
        ring.max_patients * ring.clip * ring.scale + 18 * ring.noise_sigma_units(1000.0)
    )
    assert largest < 2**62


@pytest.mark.parametrize(
    "changes",
    [{"clip": 0.0}, {"clip": math.inf}, {"length": 0}, {"sites": 0}, {"resolution_bits": 20}],
)
def test_impossible_rings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"clip|length|resolution"):
        codec(**changes)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200, 1000.1])
def test_sums_that_no_clipped_patients_make_are_refused(bad: float) -> None:
    values = np.zeros(5)
    values[2] = bad
    with pytest.raises(PrivacyRefusal, match="nothing is released"):
        codec().encode(values)


def test_a_full_sum_is_not_refused() -> None:
    ring = codec(clip=0.1, max_patients=1000)
    values = np.add.reduce(np.full((1000, 5), 0.1 / math.sqrt(5)))
    assert ring.encode(values).shape == (5,)


def test_shapes_and_types_are_checked() -> None:
    ring = codec()
    with pytest.raises(ValueError, match="float64"):
        ring.encode(np.zeros(4))
    with pytest.raises(ValueError, match="float64"):
        ring.encode(np.zeros(5, dtype=np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint64"):
        ring.decode(np.zeros(4, dtype=np.uint64))
    with pytest.raises(ValueError, match="uint64"):
        ring.decode(np.zeros(5, dtype=np.int64))  # type: ignore[arg-type]
