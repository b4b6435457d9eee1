from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fedward.audits.coordinator_role import CoordinatorRole, NotAnsweredError, summed
from fedward.common.protocol.queries import GradientSumQuery, MomentsQuery
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.unprotected import Unprotected

Make = Callable[..., Any]


def role_of(study: Study, make_sites: Make, make_options: Make, **changes: Any) -> CoordinatorRole:
    vaults = {site.name: site.vault() for site in make_sites(study, noise_seed=1, **changes)}
    return CoordinatorRole(study, vaults, signed_roster=make_options().signed_roster, run_id="run")


def model(study: Study) -> Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]:
    columns = Dimensions.of(study).columns
    return {
        "parameters": np.linspace(-1, 1, Dimensions.of(study).parameters),
        "center": np.zeros(columns),
        "scale": np.ones(columns),
    }


@pytest.mark.parametrize("local", [False, True])
def test_masks_cancel_in_the_sum_and_hide_every_part(
    make_study: Make, make_sites: Make, make_options: Make, local: bool
) -> None:
    study = make_study(local=local)
    bare = Unprotected(largest_site=50)
    plain, masked = (
        role_of(study, make_sites, make_options, protection=bare, masked=flag).ask_training(
            round=1, **model(study)
        )
        for flag in (False, True)
    )

    assert summed(masked) == pytest.approx(summed(plain), abs=1e-12)
    assert summed(plain) == pytest.approx(
        np.sum([part.decoded for part in plain.values()], axis=0), abs=1e-12
    )
    for site, part in masked.items():
        assert part.masked
        assert not plain[site].masked
        assert np.abs(part.decoded - plain[site].decoded).min() > 1e3


def test_any_kind_of_sum_is_asked_for_and_tells_its_noise(
    study: Study, make_sites: Make, make_options: Make
) -> None:
    role = role_of(study, make_sites, make_options)
    parts = role.ask(MomentsQuery, round=0)

    assert set(parts) == set(role.roster)
    assert all(part.executed is not None for part in parts.values())
    assert len(summed(parts)) == Dimensions.of(study).moments


def test_one_site_may_be_asked_alone(study: Study, make_sites: Make, make_options: Make) -> None:
    role = role_of(study, make_sites, make_options)
    assert set(role.ask_training(round=1, of=["site-1"], **model(study))) == {"site-1"}


def test_a_refusal_is_told_with_its_reason(
    study: Study, make_sites: Make, make_options: Make
) -> None:
    role = role_of(study, make_sites, make_options)
    role.ask_training(round=1, **model(study))
    with pytest.raises(NotAnsweredError, match=r"site-0 did not answer: .*answered round 1"):
        role.ask_training(round=1, **model(study))
    with pytest.raises(NotAnsweredError, match="plans no gradient_sum in round 9"):
        role.ask(GradientSumQuery, round=9, arrays=dict(model(study)))
