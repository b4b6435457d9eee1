from __future__ import annotations

import math
from typing import Any

import pytest

from fedward.client.vault.policy import SitePolicy


def policy_of(**changes: Any) -> SitePolicy:
    fields: dict[str, Any] = {"federation_key": bytes(32), "known_keys": {"a": bytes(32)}}
    return SitePolicy(**(fields | changes))


@pytest.mark.parametrize("name", ["epsilon_cap", "epsilon_alone_cap"])
@pytest.mark.parametrize("cap", [math.nan, math.inf, -1.0])
def test_a_cap_that_would_forbid_nothing_is_refused(name: str, cap: float) -> None:
    with pytest.raises(ValueError, match="cap"):
        policy_of(**{name: cap})


@pytest.mark.parametrize(
    "changes",
    [
        {"federation_key": bytes(31)},
        {"known_keys": {"a": bytes(32), "b": bytes(33)}},
        {"minimum_sites": 0},
        {"colluding": -1},
    ],
)
def test_what_is_no_key_or_no_number_of_sites_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"keys|minimum_sites"):
        policy_of(**changes)


def test_a_policy_allows_no_evaluation_of_a_site_by_itself() -> None:
    assert not policy_of().allow_site_evaluation
