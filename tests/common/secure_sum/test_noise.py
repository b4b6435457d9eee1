from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedward.common.privacy.plan import SumPlan
from fedward.common.privacy.random_source import RandomSource
from fedward.common.secure_sum.noise import add_noise_share, codec_for, noise_share

SITES, COLLUDING, LENGTH = 4, 1, 50_000
PLAN = SumPlan(
    clip=0.5,
    sampling_rate=1.0,
    count=10,
    noise_multiplier=7.5,
    share_multiplier=7.5 / math.sqrt(SITES - COLLUDING),
)
CODEC = codec_for(PLAN, length=LENGTH, max_patients=1000, sites=SITES)


def shares(plan: SumPlan, sites: int) -> list[NDArray[np.uint64]]:
    source = RandomSource.insecure(17)
    return [
        noise_share(plan, CODEC, source.stream(purpose="noise", context=bytes([site])))
        for site in range(sites)
    ]


def p_value(noise: NDArray[np.float64], sigma: float) -> float:
    """Two-sided chi-square test of the variance."""
    statistic = float(np.sum((noise / sigma) ** 2))
    tails = stats.chi2.cdf(statistic, noise.size), stats.chi2.sf(statistic, noise.size)
    return 2 * float(min(tails))


def test_honest_shares_add_up_to_the_promised_noise() -> None:
    honest = CODEC.decode(np.sum(shares(PLAN, SITES - COLLUDING), axis=0, dtype=np.uint64))
    promised = PLAN.noise_multiplier * CODEC.sensitivity_units / CODEC.scale
    assert promised == pytest.approx(7.5 * 0.5, rel=1e-4)
    assert p_value(honest, promised) > 1e-6
    assert stats.kstest(honest / promised, "norm").pvalue > 1e-6


def test_shares_ten_percent_smaller_are_rejected() -> None:
    smaller = replace(PLAN, share_multiplier=0.9 * PLAN.share_multiplier)
    noise = CODEC.decode(np.sum(shares(smaller, SITES - COLLUDING), axis=0, dtype=np.uint64))
    assert p_value(noise, 7.5 * 0.5) < 1e-100


def test_a_share_is_added_to_an_empty_batch_and_hides_in_the_ring() -> None:
    share = shares(PLAN, 1)[0]
    release = CODEC.encode(np.zeros(LENGTH)) + share
    assert p_value(CODEC.decode(release), PLAN.share_multiplier * 0.5) > 1e-6
    assert np.array_equal(release - share, np.zeros(LENGTH, dtype=np.uint64))


def test_sites_noise_is_independent() -> None:
    first, second = (CODEC.decode(share) for share in shares(PLAN, 2))
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) * math.sqrt(LENGTH) < 5


def test_codec_of_another_plan_is_refused() -> None:
    stream = RandomSource.from_os().stream(purpose="noise", context=b"")
    for other in (replace(PLAN, clip=1.0), replace(PLAN, noise_multiplier=8.0)):
        with pytest.raises(ValueError, match="another plan"):
            noise_share(other, CODEC, stream)


def test_a_share_is_added_in_place() -> None:
    elements = CODEC.encode(np.linspace(-1, 1, LENGTH))
    total = elements + shares(PLAN, 1)[0]
    stream = RandomSource.insecure(17).stream(purpose="noise", context=bytes([0]))
    add_noise_share(elements, PLAN, CODEC, stream)
    assert np.array_equal(elements, total)


@pytest.mark.parametrize(
    "wrong", [np.zeros(LENGTH), np.zeros(LENGTH + 1, dtype=np.uint64)], ids=["float", "longer"]
)
def test_a_share_is_not_added_to_another_codecs_elements(wrong: NDArray[Any]) -> None:
    stream = RandomSource.from_os().stream(purpose="noise", context=b"")
    with pytest.raises(ValueError, match="expected uint64"):
        add_noise_share(wrong, PLAN, CODEC, stream)
    assert not wrong.any()
