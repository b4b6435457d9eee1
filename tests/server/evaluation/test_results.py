from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedward.server.evaluation.results import CalibrationEstimate, Estimate, Z

NUMBERS = st.floats(-1e9, 1e9)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([1.0, math.inf]))
def test_any_three_numbers_become_an_interval_around_a_possible_value(
    value: float, low: float, high: float, most: float
) -> None:
    found = Estimate.within(value, low, high, most=most)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= most


def test_an_interval_within_the_range_is_kept() -> None:
    found = Estimate.within(0.5, 0.25, 0.75, most=1.0)
    assert (found.value, found.low, found.high) == (0.5, 0.25, 0.75)
    assert found.known
    assert not Estimate.unknown().known


@pytest.mark.parametrize(
    "fields",
    [
        {"value": 0.5, "low": None, "high": 0.6},
        {"value": None, "low": 0.1, "high": 0.2},
        {"value": 0.5, "low": 0.6, "high": 0.7},
        {"value": 0.5, "low": 0.1, "high": 0.4},
        {"value": math.nan, "low": 0.1, "high": 0.4},
        {"value": 0.5, "low": 0.1, "high": math.inf},
        {"value": 0.5, "low": 0.1, "high": 0.6, "width": 0.5},
    ],
)
def test_what_is_no_interval_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Estimate(**fields)


def test_json_has_numbers_or_null() -> None:
    found = CalibrationEstimate(
        low=0.0,
        high=0.5,
        patients=Estimate.within(3.0, 1.0, 5.0, most=math.inf),
        observed_rate=Estimate.unknown(),
    )
    text = found.model_dump_json()
    assert '"observed_rate":{"value":null,"low":null,"high":null}' in text
    assert CalibrationEstimate.model_validate_json(text) == found


def test_the_quantile_is_that_of_the_confidence() -> None:
    assert math.erf(Z / math.sqrt(2)) == pytest.approx(0.95, abs=1e-12)
