from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.client.vault import allowance as module
from fedward.client.vault.allowance import EXACT_TRIES, ROUGH_TRIES, Allowance, Events, Prospect
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy import accounting
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.dominance import Spending
from fedward.common.privacy.events import GaussianEvent, grouped

DELTA = 1e-5
ROUND = GaussianEvent(noise_multiplier=4.0, sampling_rate=0.3)
SCALER = GaussianEvent(noise_multiplier=9.0)
KINDS = (ROUND, SCALER, GaussianEvent(noise_multiplier=5.0, sampling_rate=0.3))


def times(event: GaussianEvent, count: int) -> Events:
    return (replace(event, count=count),) if count else ()


def prospect(now: Events, *, step: GaussianEvent = ROUND, most: int = 0) -> Prospect:
    return Prospect(
        now=now,
        ahead=lambda n: grouped((*now, *times(step, n))),
        most=most,
    )


def computed() -> int:
    """How often anything was accounted for in this process."""
    infos = (accounting._epsilon.cache_info(), module._rough_epsilon.cache_info())
    return sum(info.hits + info.misses for info in infos)


def accountings() -> tuple[int, int]:
    """How often releases were composed in this process, roughly and exactly."""
    return (
        module._rough_epsilon.cache_info().misses,
        accounting._epsilon.cache_info().misses,
    )


def is_remembered(allowance: Allowance, event: GaussianEvent, n: int, *, cap: float) -> bool:
    """Whether so many releases are known to fit, and nothing would have to be computed."""
    return allowance._is_covered(Spending(times(event, n)), cap=cap, delta=DELTA)


SOME = st.lists(
    st.builds(
        GaussianEvent,
        noise_multiplier=st.sampled_from([4.0, 5.0]),
        sampling_rate=st.sampled_from([0.3, 1.0]),
        count=st.integers(1, 6),
    ),
    max_size=3,
).map(grouped)


@settings(max_examples=10)
@given(
    sequence=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=6),
    before=SOME,
    share=st.floats(0.2, 1.3),
    looks=st.booleans(),
)
def test_it_says_what_the_exact_check_says(
    sequence: list[tuple[GaussianEvent, int]], before: Events, share: float, looks: bool
) -> None:
    """Whatever was expected, and whether the answer was computed or remembered."""
    allowance = Allowance()
    whole = epsilon_of((*before, *(event for event, _ in sequence)), delta=DELTA)
    cap = share * whole
    charged = before
    for event, most in sequence:
        now = grouped((*charged, event))
        exact = epsilon_of(now, delta=DELTA)
        if looks:
            ahead = prospect(charged, step=event, most=most)
            allowance.look_ahead([ahead], cap=cap, delta=DELTA)

        excess = allowance.excess([prospect(now, step=event, most=most)], cap=cap, delta=DELTA)

        assert excess == (None if exact <= cap else exact)
        if excess is None:
            charged = now


def test_after_the_first_check_of_a_run_nothing_is_computed() -> None:
    cap = epsilon_of((*times(ROUND, 40), SCALER), delta=DELTA)
    allowance = Allowance()
    first = prospect((SCALER, ROUND), most=39)
    assert allowance.excess([first], cap=cap, delta=DELTA) is None

    before = computed()
    epsilon_of((), delta=DELTA)
    each = computed() - before
    for done in range(2, 41):
        now = prospect(grouped((SCALER, *times(ROUND, done))), most=40 - done)
        assert allowance.excess([now], cap=cap, delta=DELTA) is None
    # That a delta can be accounted for is asked each time, and nothing else.
    assert computed() - before == 40 * each


def test_nor_is_it_where_the_cap_ends_the_run_before_its_plan_does() -> None:
    cap = epsilon_of(times(ROUND, 23), delta=DELTA)
    allowance = Allowance()
    assert allowance.excess([prospect(times(ROUND, 1), most=99)], cap=cap, delta=DELTA) is None

    before = computed()
    for done in range(2, 24):
        now = prospect(times(ROUND, done), most=100 - done)
        assert allowance.excess([now], cap=cap, delta=DELTA) is None
    assert computed() - before == 22
    excess = allowance.excess([prospect(times(ROUND, 24), most=76)], cap=cap, delta=DELTA)
    assert excess == epsilon_of(times(ROUND, 24), delta=DELTA)
    assert excess > cap


@pytest.mark.parametrize(
    ("event", "rounds", "share"),
    [
        (GaussianEvent(noise_multiplier=1.1, sampling_rate=0.01), 10_000, 0.5),
        (GaussianEvent(noise_multiplier=2.0, sampling_rate=0.005), 10_000, 0.5),
        # One release costs less than the step to which epsilons are rounded.
        (GaussianEvent(noise_multiplier=60.0, sampling_rate=0.1), 10_000, 0.9),
        (GaussianEvent(noise_multiplier=900.0), 50_000, 0.3),
    ],
)
def test_a_look_ahead_computes_little_and_sees_far(
    event: GaussianEvent, rounds: int, share: float
) -> None:
    whole = epsilon_of(times(event, rounds), delta=DELTA)
    cap = round(share * whole, 4)
    allowance = Allowance()
    before = accountings()
    ahead = prospect(times(event, 1), step=event, most=rounds - 1)

    assert allowance.excess([ahead], cap=cap, delta=DELTA) is None

    rough, exact = (after - earlier for after, earlier in zip(accountings(), before, strict=True))
    assert rough <= ROUGH_TRIES + 2
    assert exact <= EXACT_TRIES + 2
    furthest = max(n for n in range(1, rounds, 10) if is_remembered(allowance, event, n, cap=cap))
    # It need not be the last one that fits, but it is not far from it.
    assert epsilon_of(times(event, furthest + rounds // 50), delta=DELTA) > cap


def test_groups_of_patients_are_looked_at_up_to_where_the_first_of_them_ends() -> None:
    """What nobody will ask for needs no computing."""
    costly, cheap = (
        prospect(grouped((*times(ROUND, count), SCALER)), most=200) for count in (20, 2)
    )
    cap = epsilon_of(costly.ahead(10), delta=DELTA)
    allowance = Allowance()
    before = accountings()

    allowance.look_ahead([cheap, costly], cap=cap, delta=DELTA)

    rough, exact = (after - earlier for after, earlier in zip(accountings(), before, strict=True))
    assert rough <= ROUGH_TRIES + 4
    assert exact <= EXACT_TRIES + 2
    done = accountings()
    for n in (0, 5, 10):
        both = [replace(one, now=one.ahead(n)) for one in (cheap, costly)]
        assert allowance.excess(both, cap=cap, delta=DELTA) is None
    assert accountings() == done
    both = [replace(one, now=one.ahead(11)) for one in (cheap, costly)]
    excess = allowance.excess(both, cap=cap, delta=DELTA)
    assert excess == epsilon_of(costly.ahead(11), delta=DELTA)


def test_a_look_ahead_from_above_the_cap_finds_nothing_and_forbids_nothing() -> None:
    allowance = Allowance()
    many = prospect(times(ROUND, 30), most=100)
    cap = epsilon_of(times(ROUND, 20), delta=DELTA)

    allowance.look_ahead([many], cap=cap, delta=DELTA)

    assert allowance.excess([many], cap=cap, delta=DELTA) == epsilon_of(many.now, delta=DELTA)
    assert allowance.excess([prospect(times(ROUND, 20))], cap=cap, delta=DELTA) is None


def test_what_fits_one_cap_is_not_taken_to_fit_a_lower_one_or_a_smaller_delta() -> None:
    now = prospect(times(ROUND, 5))
    cap = epsilon_of(now.now, delta=DELTA)
    allowance = Allowance()

    assert allowance.excess([now], cap=cap, delta=DELTA) is None
    assert allowance.excess([now], cap=cap - 1e-4, delta=DELTA) == cap
    assert allowance.excess([now], cap=cap, delta=DELTA / 10) == epsilon_of(
        now.now, delta=DELTA / 10
    )
    assert allowance.excess([now], cap=cap + 1, delta=DELTA) is None


def test_no_releases_fit_a_cap_of_nothing() -> None:
    assert Allowance().excess([prospect(())], cap=0.0, delta=DELTA) is None
    assert Allowance().excess([prospect((SCALER,))], cap=0.0, delta=DELTA) is not None


def test_a_delta_that_cannot_be_accounted_for_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="delta"):
        Allowance().excess([prospect((SCALER,))], cap=1000.0, delta=1e-12)


def test_it_forgets_the_oldest_and_answers_all_the_same() -> None:
    allowance = Allowance(remembered=2)
    for count in (3, 1, 2, 3):
        now = times(replace(ROUND, sampling_rate=count / 10), count)
        exact = epsilon_of(now, delta=DELTA)
        assert allowance.excess([prospect(now)], cap=exact, delta=DELTA) is None
        assert allowance.excess([prospect(now)], cap=exact - 1e-4, delta=DELTA) == exact


def test_threads_get_one_answer() -> None:
    cap = epsilon_of(times(ROUND, 12), delta=DELTA)
    allowance, found = Allowance(), {}

    def ask(count: int) -> None:
        now = prospect(times(ROUND, count), most=30)
        found[count] = allowance.excess([now], cap=cap, delta=DELTA)

    threads = [threading.Thread(target=ask, args=(count,)) for count in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {count for count, excess in found.items() if excess is None} == set(range(1, 13))
