from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.discrete_gaussian_table import envelope_table
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


RINGS = st.fixed_dictionaries(
    {
        "clip": st.floats(1e-6, 1e9),
        "length": st.integers(1, 50),
        # Powers from a few to what no ring holds, so that many are at the edge.
        "max_patients": st.floats(0, 28).map(lambda power: int(2**power)),
        "sites": st.floats(0, 20).map(lambda power: int(2**power)),
        "noise_multiplier": st.one_of(
            st.just(0.0), st.floats(-3, 24).map(lambda power: 2.0**power)
        ),
        "resolution_bits": st.integers(24, 44),
    }
)


def largest_draw(sigma: float) -> int:
    """How far from zero the sampler gets, from its own table."""
    table = envelope_table(sigma)
    return max(-int(table.starts[0]), int(table.starts[-1]) + 2**table.width_log2 - 1)


def units(elements: np.ndarray) -> list[int]:
    return [int(element) for element in elements.view(np.int64)]


@settings(max_examples=300)
@given(facts=RINGS)
def test_the_largest_sum_of_a_ring_that_is_admitted_does_not_wrap(facts: dict[str, Any]) -> None:
    try:
        ring = RingCodec(**facts)
    except PrivacyRefusal:
        reject()
    # All patients of all sites at the clip and in one direction, and the furthest noise.
    values = np.zeros(ring.length)
    values[0] = ring.max_patients * ring.clip * (1 + ring.summation_rounding)
    (largest, *_) = units(ring.encode(values))
    with pytest.raises(PrivacyRefusal, match="nothing is released"):
        ring.encode(1.01 * values)
    noise = 0
    if ring.noise_multiplier:
        noise = largest_draw(ring.noise_sigma_units(ring.noise_multiplier))
    for sign in (1, -1):
        total = sign * ring.sites * (largest + noise)
        assert abs(total) < 2**62
        elements = np.full(ring.length, total % 2**64, dtype=np.uint64)
        assert ring.decode(elements)[0] == math.ldexp(total, -ring.scale_bits)
        # One term at a time, as the coordinator adds.
        term = np.uint64(sign * (largest + noise) % 2**64)
        added = np.multiply(term, np.uint64(ring.sites), dtype=np.uint64)
        assert units(np.array([added])) == [total]


@settings(max_examples=300)
@given(facts=RINGS)
def test_only_what_comes_near_the_ring_is_refused(facts: dict[str, Any]) -> None:
    try:
        RingCodec(**facts)
    except PrivacyRefusal:
        # Two to this power units are one clip, or less than twice that.
        bits = facts["resolution_bits"] + 1
        clips = facts["max_patients"] + 20 * facts["noise_multiplier"]
        exact = facts["max_patients"] < 2**25
        sampled = math.log2(max(facts["noise_multiplier"], 1)) + bits < 44
        assert not (exact and sampled and facts["sites"] * clips * 2**bits < 2**60)


@given(facts=RINGS, factor=st.sampled_from(["max_patients", "sites", "noise_multiplier"]))
def test_more_of_what_was_refused_is_refused(facts: dict[str, Any], factor: str) -> None:
    try:
        RingCodec(**facts)
    except PrivacyRefusal:
        with pytest.raises(PrivacyRefusal, match="max_patients_per_site"):
            RingCodec(**(facts | {factor: 2 * facts[factor]}))
    else:
        reject()


@pytest.mark.parametrize("length", [1, 8191, 8192, 8193, 20_000])
def test_long_sums_are_encoded_like_short_ones(length: int) -> None:
    ring = codec(length=length)
    values = np.random.default_rng(length).normal(size=length)
    encoded = ring.encode(values)
    assert encoded.dtype == np.uint64
    assert np.array_equal(encoded.view(np.int64), np.rint(values * ring.scale))
    values[-1] = math.nan
    with pytest.raises(PrivacyRefusal, match="nothing is released"):
        ring.encode(values)
    # The norm is that of the whole sum.
    spread = np.full(length, 1000.0 / math.sqrt(length))
    assert ring.encode(spread).size == length
    with pytest.raises(PrivacyRefusal, match="nothing is released"):
        ring.encode(1.001 * spread)


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
