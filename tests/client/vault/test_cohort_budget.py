from __future__ import annotations

import math
from typing import Any

import pytest

from fedward.client.vault.cohort_budget import CohortBudget, by_name, charged_cohorts


def budget(name: str = "cardiology", **changes: Any) -> CohortBudget:
    return CohortBudget(**({"name": name, "delta": 1e-5, "epsilon_cap": 1.0} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"epsilon_cap": math.nan},
        {"epsilon_cap": -1.0},
        {"epsilon_alone_cap": math.inf},
        {"shares_patients_with": ("cardiology",)},
    ],
)
def test_what_is_no_budget_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"delta|cap|share"):
        budget(**changes)


def test_sharing_holds_in_both_directions_and_no_further() -> None:
    budgets = by_name(
        [
            budget("ward", shares_patients_with=("hospital",)),
            budget("hospital"),
            budget("clinic", shares_patients_with=("hospital",)),
            budget("elsewhere"),
        ]
    )

    assert charged_cohorts("hospital", budgets) == ("hospital", "clinic", "ward")
    assert charged_cohorts("ward", budgets) == ("ward", "hospital")
    assert charged_cohorts("clinic", budgets) == ("clinic", "hospital")
    assert charged_cohorts("elsewhere", budgets) == ("elsewhere",)


def test_two_that_name_each_other_are_charged_once() -> None:
    budgets = by_name(
        [
            budget("a", shares_patients_with=("b",)),
            budget("b", shares_patients_with=("a",)),
        ]
    )

    assert charged_cohorts("a", budgets) == ("a", "b")


def test_cohorts_have_one_name_each_and_share_with_known_ones() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        by_name([budget("a"), budget("a")])
    with pytest.raises(ValueError, match="unknown b"):
        by_name([budget("a", shares_patients_with=("b",))])
