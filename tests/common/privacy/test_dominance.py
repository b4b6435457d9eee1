from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedward.common.privacy.accounting import RESOLUTION, epsilon_of
from fedward.common.privacy.dominance import Spending
from fedward.common.privacy.events import GaussianEvent, grouped

DELTA = 1e-5
Events = tuple[GaussianEvent, ...]
ROUND = GaussianEvent(noise_multiplier=4.0, sampling_rate=0.3)
SCALER = GaussianEvent(noise_multiplier=9.0)
SOME = st.lists(
    st.builds(
        GaussianEvent,
        noise_multiplier=st.sampled_from([4.0, 5.0]),
        sampling_rate=st.sampled_from([0.3, 1.0]),
        count=st.integers(1, 6),
    ),
    max_size=3,
).map(grouped)


@settings(max_examples=15)
@given(large=SOME, small=SOME)
def test_what_is_covered_costs_no_more(large: Events, small: Events) -> None:
    assume(Spending(large).covers(Spending(small)))

    covered, cover = (epsilon_of(events, delta=DELTA) for events in (small, large))

    assert covered <= cover + 1 / RESOLUTION


@given(large=SOME, data=st.data())
def test_less_of_it_and_more_noise_is_covered(large: Events, data: st.DataObject) -> None:
    small = grouped(
        replace(
            event,
            count=data.draw(st.integers(1, event.count)),
            noise_multiplier=event.noise_multiplier * data.draw(st.sampled_from([1.0, 1.3])),
        )
        for event in large
        if data.draw(st.booleans())
    )

    assert Spending(large).covers(Spending(small))
    assert Spending(large).covers(Spending(large))


@pytest.mark.parametrize(
    "more",
    [
        (replace(ROUND, count=6),),
        (replace(ROUND, count=5, noise_multiplier=3.9),),
        (replace(ROUND, sampling_rate=0.2),),
        # One of its own has that little noise, and it is taken.
        (replace(ROUND, count=5), replace(ROUND, noise_multiplier=4.1)),
        (replace(SCALER, count=2),),
        (replace(SCALER, noise_multiplier=8.9),),
    ],
)
def test_more_of_it_or_less_noise_is_not_covered(more: Events) -> None:
    known = Spending((replace(ROUND, count=5), SCALER))

    assert known.covers(Spending((replace(ROUND, count=5), SCALER)))
    assert not known.covers(Spending(more))
