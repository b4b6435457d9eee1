from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.random_source import RandomSource, RandomStream
from fedward.common.privacy.sum_plan import SCALER_CLIP, SumKind
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MakeStudy = Callable[..., Study]


def stream() -> RandomStream:
    return RandomSource.from_os().stream(purpose="noise", context=b"test")


def test_the_rules_of_training_are_those_of_the_plan(study: Study) -> None:
    rules = PlannedProtection().rules(study, "training", sites=3, colluding=0)
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
    rules = PlannedProtection().rules(study, "moments", sites=3, colluding=0)

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
    kinds: tuple[SumKind, ...] = ("moments", "training", "evaluation")
    for kind in kinds:
        length = PlannedProtection().rules(study, kind, sites=3, colluding=0).codec.length
        assert asked.pop() >= length


def test_the_plan_is_that_of_the_study(study: Study, local_study: Study) -> None:
    protection = PlannedProtection()
    plan = protection.plan(study, sites=3, colluding=0)

    assert plan == plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    assert plan.epsilon <= study.privacy.epsilon
    # Three rounds of one epoch of half batches.
    assert protection.plan(local_study, sites=3, colluding=0).training.count == 3 * 2


@pytest.mark.parametrize("kind", ["moments", "counts", "evaluation", "site_evaluation"])
def test_the_rules_of_every_kind_are_those_of_the_plan(
    make_study: MakeStudy, kind: SumKind
) -> None:
    study = make_study(statistics={}, evaluation={"per_site": True}, privacy={"clip": 0.25})
    rules = PlannedProtection().rules(study, kind, sites=5, colluding=2)
    plan = PlannedProtection().plan(study, sites=5, colluding=2).of(kind)

    assert plan is not None
    assert rules.clip == plan.clip == rules.codec.clip == 1.0
    assert rules.sampling_rate == 1.0
    assert rules.codec.length == Dimensions.of(study).of_kind(kind)
    assert rules.executed is not None
    assert rules.executed.noise_multiplier == plan.noise_multiplier
    assert rules.executed.share_multiplier == plan.share_multiplier
    honest = 1 if kind == "site_evaluation" else 5 - 2
    assert plan.share_multiplier == pytest.approx(plan.noise_multiplier / math.sqrt(honest))


def test_each_site_adds_all_of_the_noise_where_nobody_is_trusted(local_study: Study) -> None:
    executed = PlannedProtection().rules(local_study, "training", sites=3, colluding=0).executed

    assert executed is not None
    assert executed.share_multiplier == executed.noise_multiplier


def test_sites_share_the_noise_among_the_honest(study: Study) -> None:
    executed = PlannedProtection().rules(study, "training", sites=5, colluding=0).executed

    assert executed is not None
    assert executed.share_multiplier == pytest.approx(executed.noise_multiplier / math.sqrt(4))


def test_one_site_is_too_few_unless_the_data_are_pooled(study: Study) -> None:
    assert PlannedProtection().minimum_roster(study) == study.cohort.minimum_sites
    assert PlannedProtection(pooled=True).minimum_roster(study) == 1
    with pytest.raises(PrivacyRefusal):
        PlannedProtection().rules(study, "training", sites=1, colluding=0)

    executed = (
        PlannedProtection(pooled=True).rules(study, "training", sites=1, colluding=0).executed
    )
    assert executed is not None
    assert executed.share_multiplier == executed.noise_multiplier


def test_a_site_may_take_more_sites_to_cheat_than_the_study_does(study: Study) -> None:
    def share_of(colluding: int) -> float:
        executed = PlannedProtection().rules(study, "training", sites=5, colluding=colluding)
        assert executed.executed is not None
        return executed.executed.share_multiplier

    # The study takes one to cheat, and no site may take fewer.
    assert share_of(0) == share_of(1)
    assert share_of(4) == pytest.approx(2 * share_of(1))
    with pytest.raises(PrivacyRefusal):
        share_of(5)


def test_a_sum_that_is_not_planned_has_no_rules(make_study: MakeStudy) -> None:
    study = make_study(scaling={"method": "public_range"})

    with pytest.raises(ValueError, match="plans no moments"):
        PlannedProtection().rules(study, "moments", sites=3, colluding=0)


@dataclass(frozen=True)
class FixedShare:
    """Stands for noise, so that its place in the sum can be seen."""

    def add(self, elements: NDArray[np.uint64], stream: RandomStream, *, codec: RingCodec) -> None:
        elements += np.full(codec.length, 2**64 - 5, dtype=np.uint64)


def test_noise_is_added_in_the_ring() -> None:
    codec = RingCodec(clip=1.0, length=2, max_patients=4, sites=2, noise_multiplier=0.0)
    rules = SumRules(clip=1.0, sampling_rate=1.0, codec=codec, share=FixedShare(), executed=None)

    noised = rules.noised(np.array([1.0, -2.0]), stream())

    assert noised.view(np.int64).tolist() == [2**24 - 5, -(2**25) - 5]


def test_noise_is_added_in_place() -> None:
    codec = RingCodec(clip=1.0, length=2, max_patients=4, sites=2, noise_multiplier=0.0)
    rules = SumRules(clip=1.0, sampling_rate=1.0, codec=codec, share=FixedShare(), executed=None)
    elements = codec.encode(np.array([1.0, -2.0]))

    rules.add_noise(elements, stream())

    assert elements.view(np.int64).tolist() == [2**24 - 5, -(2**25) - 5]


def test_a_planned_share_is_fresh_at_every_draw(study: Study) -> None:
    rules = PlannedProtection().rules(study, "training", sites=3, colluding=0)
    draws = []
    for _ in range(10):
        elements = np.zeros(rules.codec.length, dtype=np.uint64)
        rules.share.add(elements, stream(), codec=rules.codec)
        draws.append(elements.tobytes())

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
