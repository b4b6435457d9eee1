from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.client.site.identity_file import read_identity
from fedward.client.site.site_policy import open_ledger, policy_of
from fedward.client.site.site_settings import load_site, write_site_toml
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.policy import SitePolicy, StudyCap
from fedward.common.errors import InputError

CARDIOLOGY = CohortBudget(name="cardiology", delta=1e-5, epsilon_cap=2.0, epsilon_alone_cap=8.0)
HOSPITAL = CohortBudget(
    name="hospital", delta=1e-5, epsilon_cap=3.0, shares_patients_with=("cardiology",)
)


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    write_site_toml(
        path,
        name="north",
        cohorts=[CARDIOLOGY, HOSPITAL],
        study_cap=StudyCap(epsilon_cap=1.0, epsilon_alone_cap=4.0),
        study_caps={"b" * 64: StudyCap(epsilon_cap=0.5), "c" * 64: StudyCap()},
    )
    return path


def test_a_policy_has_every_cap_of_the_file(site_file: Path) -> None:
    settings = load_site(site_file)
    keys: dict[str, Any] = {"federation_key": bytes(32), "known_keys": {"north": b"n" * 32}}

    policy = policy_of(settings, **keys)

    assert policy == SitePolicy(
        **keys,
        epsilon_cap=1.0,
        epsilon_alone_cap=4.0,
        study_caps={"b" * 64: StudyCap(epsilon_cap=0.5), "c" * 64: StudyCap()},
        cohorts={"cardiology": CARDIOLOGY, "hospital": HOSPITAL},
    )
    assert policy.cap_of("a" * 64) == StudyCap(epsilon_cap=1.0, epsilon_alone_cap=4.0)
    assert policy.cap_of("c" * 64) == StudyCap()
    more: dict[str, Any] = {"minimum_sites": 4, "colluding": 2, "allow_site_evaluation": True}
    careful = policy_of(settings, **keys, **more)
    assert {name: getattr(careful, name) for name in more} == more


def test_the_ledger_is_the_files_and_declares_its_cohorts(new_site: Callable[[], Any]) -> None:
    site = new_site()
    settings = load_site(site.toml)
    identity = read_identity(settings.identity_file)

    ledger = open_ledger(settings, identity=identity)
    try:
        assert ledger.budgets() == settings.cohorts
        assert ledger.head().site == settings.name
    finally:
        ledger.close()

    assert site.ledger_file.exists()
    site.write(*(CohortBudget(name=name, delta=1e-5, epsilon_cap=9.0) for name in settings.cohorts))
    with pytest.raises(InputError, match=r"raise-budget|shares patients"):
        open_ledger(load_site(site.toml), identity=identity)
