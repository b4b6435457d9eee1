from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.client.vault.protection import SumRules
from fedward.common.privacy.plan import SumKind
from fedward.common.privacy.random_source import RandomSource
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]


def test_its_rules_add_nothing_and_charge_nothing(study: Study) -> None:
    protection = Unprotected(largest_site=50)
    rules = protection.rules(study, "training", sites=3, colluding=0)
    stream = RandomSource.from_os().stream(purpose="noise", context=b"test")
    total = np.array([1.5, -2.25, 0.0, 700.0])

    assert rules.executed is None
    assert protection.plan(study, sites=3, colluding=1) is None
    assert protection.minimum_roster(study) == 1
    assert rules.codec.decode(rules.noised(total, stream)).tolist() == total.tolist()


def test_lengths_and_rates_are_the_studys(study: Study, local_study: Study) -> None:
    protection, dimensions = Unprotected(largest_site=50), Dimensions.of(study)

    def rules_of(chosen: Study, kind: SumKind) -> SumRules:
        return protection.rules(chosen, kind, sites=3, colluding=0)

    kinds: tuple[SumKind, ...] = ("training", "moments", "evaluation")
    for kind in kinds:
        assert rules_of(study, kind).codec.length == dimensions.of_kind(kind)
    assert rules_of(local_study, "training").sampling_rate == 0.5
    assert rules_of(local_study, "moments").sampling_rate == 1.0


@pytest.mark.parametrize(("sites", "patients"), [(2, 1_000_000), (1000, 10_000), (10_000, 500)])
def test_the_ring_holds_large_simulations(study: Study, sites: int, patients: int) -> None:
    protection = Unprotected(largest_site=patients)
    rules = protection.rules(study, "training", sites=sites, colluding=0)
    # Far more than logistic regression on scaled features can add up to at one site.
    largest = np.full(4, patients * 10.0)

    total = (rules.codec.encode(largest).astype(object) * sites) % 2**64
    decoded = rules.codec.decode(np.array(total, dtype=np.uint64))
    np.testing.assert_allclose(decoded, largest * sites)
