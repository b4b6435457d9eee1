"""Bounds of what an entry may say: nothing that accountants or calendars cannot take."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from fedward.common.errors import PrivacyRefusal
from fedward.common.ledger.entries import ChargedEvent, Time
from fedward.common.privacy.events import GaussianEvent

TIME = TypeAdapter(Time)


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00Z", "2028-02-29T23:59:59Z"])
def test_a_time_is_a_real_one(time: str) -> None:
    assert TIME.validate_python(time) == time


@pytest.mark.parametrize(
    "time",
    [
        "2026-99-99T99:99:99Z",
        "2026-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "\u0662\u0660\u0662\u0666-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
    ],
)
def test_a_time_that_there_is_not_is_refused(time: str) -> None:
    with pytest.raises(ValidationError):
        TIME.validate_python(time)


@pytest.mark.parametrize(("noise", "count"), [(1e-3, 1), (1e9, 1), (1.0, 10**9)])
def test_an_event_at_its_bounds_can_be_charged(noise: float, count: int) -> None:
    event = GaussianEvent(noise_multiplier=noise, count=count)
    assert ChargedEvent.of(event).event() == event


@pytest.mark.parametrize(
    ("noise", "count"), [(1e-300, 1), (9e-4, 1), (1.1e9, 1), (1.0, 10**9 + 1), (1.0, 10**400)]
)
def test_an_event_beyond_them_is_refused_with_a_sentence(noise: float, count: int) -> None:
    with pytest.raises(PrivacyRefusal, match="cannot be charged"):
        ChargedEvent.of(GaussianEvent(noise_multiplier=noise, count=count))
