from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import fedward.client.vault.protection
from fedward.client.vault.protection import (
    UPDATE_BOUND,
    PlannedProtection,
    SumRules,
    update_codec,
)
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.plan import SCALER_CLIP, PrivacyPlan, plan_for
from fedward.common.privacy.random_source import RandomSource, RandomStream
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MakeStudy = Callable[..., Study]


def stream() -> RandomStream:
    return RandomSource.from_os().stream(purpose="noise", context=b"test")


def test_the_rules_of_training_are_those_of_the_plan(study: Study) -> None:
    rules = PlannedProtection().rules(study, "training", sites=3)
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest).training

    assert rules.clip == study.privacy.clip == rules.codec.clip
    assert rules.sampling_rate == 1.0
    assert rules.codec.length == Dimensions.of(study).parameters
    assert rules.codec.max_patients == study.cohort.max_patients_per_site
    assert rules.codec.sites == 3
    assert rules.executed is not None
    assert rules.executed.noise_multiplier == plan.noise_multiplier
    assert rules.executed.share_multiplier == plan.share_multiplier
    assert rules.executed.count == 1


def test_the_rules_of_the_moments_are_those_of_the_plan(make_study: MakeStudy) -> None:
    study = make_study(privacy={"clip": 0.25})
    rules = PlannedProtection().rules(study, "moments", sites=3)

    assert rules.clip == SCALER_CLIP == rules.codec.clip
    assert rules.sampling_rate == 1.0
    assert rules.codec.length == Dimensions.of(study).moments


def test_the_plan_is_charged_for_every_number_that_is_released(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def watched(study: Study, **options: Any) -> PrivacyPlan:
        asked.append(options["coordinates"])
        return plan_for(study, **options)

    monkeypatch.setattr(fedward.client.vault.protection, "plan_for", watched)
    kinds: tuple[Literal["moments", "training"], ...] = ("moments", "training")
    for kind in kinds:
        length = PlannedProtection().rules(study, kind, sites=3).codec.length
        assert asked.pop() >= length


def test_planned_counts(study: Study, local_study: Study) -> None:
    protection = PlannedProtection()

    assert protection.planned(study, "moments", sites=3) == 1
    assert protection.planned(study, "training", sites=3) == study.training.rounds
    # Three rounds of one epoch of half batches.
    assert protection.planned(local_study, "training", sites=3) == 3 * 2


def test_each_site_adds_all_of_the_noise_where_nobody_is_trusted(local_study: Study) -> None:
    executed = PlannedProtection().rules(local_study, "training", sites=3).executed

    assert executed is not None
    assert executed.share_multiplier == executed.noise_multiplier


def test_sites_share_the_noise_among_the_honest(study: Study) -> None:
    executed = PlannedProtection().rules(study, "training", sites=5).executed

    assert executed is not None
    assert executed.share_multiplier == pytest.approx(executed.noise_multiplier / math.sqrt(4))


def test_one_site_is_too_few_unless_the_data_are_pooled(study: Study) -> None:
    assert PlannedProtection().minimum_roster(study) == study.cohort.minimum_sites
    assert PlannedProtection(pooled=True).minimum_roster(study) == 1
    with pytest.raises(PrivacyRefusal):
        PlannedProtection().rules(study, "training", sites=1)

    executed = PlannedProtection(pooled=True).rules(study, "training", sites=1).executed
    assert executed is not None
    assert executed.share_multiplier == executed.noise_multiplier


def test_a_sum_that_is_not_planned_has_no_rules(make_study: MakeStudy) -> None:
    study = make_study(scaling={"method": "public_range"})

    for ask in (PlannedProtection().rules, PlannedProtection().planned):
        with pytest.raises(ValueError, match="plans no moments"):
            ask(study, "moments", sites=3)


@dataclass(frozen=True)
class FixedShare:
    """Stands for noise, so that its place in the sum can be seen."""

    def draw(self, stream: RandomStream, *, codec: RingCodec) -> NDArray[np.uint64]:
        return np.full(codec.length, 2**64 - 5, dtype=np.uint64)


def test_noise_is_added_in_the_ring() -> None:
    codec = RingCodec(clip=1.0, length=2, max_patients=4, sites=2, noise_multiplier=0.0)
    rules = SumRules(clip=1.0, sampling_rate=1.0, codec=codec, share=FixedShare(), executed=None)

    noised = rules.noised(np.array([1.0, -2.0]), stream())

    assert noised.view(np.int64).tolist() == [2**24 - 5, -(2**25) - 5]


def test_a_planned_share_is_fresh_at_every_draw(study: Study) -> None:
    rules = PlannedProtection().rules(study, "training", sites=3)
    draws = [rules.share.draw(stream(), codec=rules.codec).tobytes() for _ in range(10)]

    assert len(set(draws)) == 10


def test_the_ring_of_an_update_holds_the_largest_from_every_site(local_study: Study) -> None:
    sites = 10_000
    codec = update_codec(local_study, sites=sites, length=4)
    largest = np.array([UPDATE_BOUND, 0.0, 0.0, 0.0])

    total = (codec.encode(largest).astype(object).sum() * sites) % 2**64
    assert codec.decode(np.full(4, total, dtype=np.uint64))[0] == pytest.approx(
        sites * UPDATE_BOUND
    )
    with pytest.raises(PrivacyRefusal):
        codec.encode(largest * 1.01)


def test_updates_lose_nothing_that_matters_to_rounding(local_study: Study) -> None:
    codec = update_codec(local_study, sites=4, length=4)
    update = np.array([1e-3, -1e-6, 0.5, 3.0])

    np.testing.assert_allclose(codec.decode(codec.encode(update)), update, atol=1e-10)


def test_only_local_training_has_updates(study: Study) -> None:
    with pytest.raises(ValueError, match="local training"):
        update_codec(study, sites=4, length=4)
