from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.common.privacy.accounting import RESOLUTION, epsilon_of
from fedward.common.privacy.cohort_spending import (
    MOST_DIVIDED,
    StudyCharges,
    cohort_accounting_delta,
    events_by_patients,
    worst_patient_epsilon,
)
from fedward.common.privacy.discrete_gaussian import TOTAL_VARIATION_PER_DRAW
from fedward.common.privacy.dominance import Spending
from fedward.common.privacy.events import GaussianEvent, grouped

DELTA = 1e-5


def everyone(noise: float, count: int = 1) -> tuple[GaussianEvent, ...]:
    return (GaussianEvent(noise_multiplier=noise, count=count),)


def epsilon(*events: GaussianEvent) -> float:
    return epsilon_of(events, delta=cohort_accounting_delta(DELTA))


def round_of(noise: float, count: int = 1) -> tuple[GaussianEvent, ...]:
    """Sums over samples of the patients."""
    return (GaussianEvent(noise_multiplier=noise, sampling_rate=0.25, count=count),)


def study_of(
    digest: str,
    training: tuple[GaussianEvent, ...] = (),
    held_out: tuple[GaussianEvent, ...] = (),
    *,
    holdout: float = 0.2,
) -> StudyCharges:
    return StudyCharges(study_digest=digest, holdout=holdout, training=training, held_out=held_out)


def assignments(studies: Sequence[StudyCharges]) -> list[tuple[GaussianEvent, ...]]:
    """What a patient was in, for each of the 2^S ways to be in a part of every study."""
    return [
        grouped(event for part in chosen for event in part)
        for chosen in product(*((study.training, study.held_out) for study in studies))
    ]


def events_over(rates: Sequence[float]) -> st.SearchStrategy[tuple[GaussianEvent, ...]]:
    # Powers of 2, so that sums of precisions are exact.
    event = st.builds(
        GaussianEvent,
        noise_multiplier=st.sampled_from([4.0, 8.0, 16.0]),
        sampling_rate=st.sampled_from(rates),
        count=st.integers(1, 4),
    )
    return st.lists(event, max_size=2).map(tuple)


def studies_over(
    rates: Sequence[float], *, most: int = 7, least: int = 0
) -> st.SearchStrategy[list[StudyCharges]]:
    events = events_over(rates)
    parts = st.lists(st.tuples(events, events), min_size=least, max_size=most)
    holdouts = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=most, max_size=most)
    return st.builds(
        lambda found, shares: [
            study_of(f"{number:064x}", training, held_out, holdout=share)
            for number, ((training, held_out), share) in enumerate(zip(found, shares, strict=False))
        ],
        parts,
        holdouts,
    )


@given(studies=studies_over([1.0, 0.25, 0.5]))
def test_no_patient_can_have_been_in_more_whatever_its_parts(studies: list[StudyCharges]) -> None:
    groups = [Spending(events) for events in events_by_patients(studies)]

    assert len(groups) <= 16
    for events in assignments(studies):
        assert any(group.covers(Spending(events)) for group in groups)


@given(studies=studies_over([1.0, 0.25, 0.5], most=MOST_DIVIDED))
def test_with_few_studies_every_group_may_be_a_patients(studies: list[StudyCharges]) -> None:
    assert set(events_by_patients(studies)) <= set(assignments(studies))


@settings(max_examples=15)
@given(studies=studies_over([1.0], most=4))
def test_it_is_the_largest_of_any_patient(studies: list[StudyCharges]) -> None:
    every = [epsilon(*events) for events in assignments(studies)]

    assert worst_patient_epsilon(studies, delta=DELTA) == max(every)
    assert len(events_by_patients(studies)) == 1


@settings(max_examples=10)
@given(studies=studies_over([1.0, 0.25], most=3, least=1))
def test_so_it_is_over_samples(studies: list[StudyCharges]) -> None:
    every = [epsilon(*events) for events in assignments(studies)]

    spent = worst_patient_epsilon(studies, delta=DELTA)

    # What is covered may come out higher by the accountant's rounding, and is not computed.
    assert spent <= max(every) <= spent + 1 / RESOLUTION


def test_one_study_costs_the_larger_of_its_parts() -> None:
    study = study_of("a", round_of(2.0, 9), everyone(6))
    both = [epsilon(*study.training), epsilon(*study.held_out)]

    assert worst_patient_epsilon([study], delta=DELTA) == max(both)
    assert set(events_by_patients([study])) == {study.training, study.held_out}


def test_who_is_held_out_of_the_one_study_may_train_its_twin() -> None:
    one = study_of("a", everyone(4), everyone(3.5))
    two = study_of("b", everyone(5), everyone(30))

    spent = worst_patient_epsilon([one, two], delta=DELTA)

    assert spent == epsilon(*everyone(3.5), *everyone(5))
    assert spent > epsilon(*everyone(4), *everyone(5))


def test_what_a_study_says_that_it_holds_out_decides_nothing() -> None:
    one = study_of("a", everyone(4), everyone(3.5))
    for holdout in (0.0, 0.3, 1.0):
        two = study_of("b", everyone(5), everyone(30), holdout=holdout)
        assert events_by_patients([one, two]) == (grouped((*everyone(3.5), *everyone(5))),)


def test_beyond_four_undecided_studies_both_parts_count() -> None:
    studies = [study_of(name, round_of(4.0), everyone(9)) for name in "abcdef"]

    groups = events_by_patients(studies)

    assert len(groups) == 16
    for group in groups:
        counts = {event.sampling_rate: event.count for event in group}
        # The fifth and the sixth are in all of them, with both of their parts.
        assert counts[0.25] >= 2
        assert counts[1.0] >= 2
        assert sum(counts.values()) == 4 + 2 * 2
    # One that is decided takes none of the four places.
    decided = study_of("decided", everyone(5), everyone(6))
    assert len(events_by_patients([decided, *studies[:4]])) == 16
    assert worst_patient_epsilon([decided, *studies[:4]], delta=DELTA) == max(
        epsilon(*events) for events in assignments([decided, *studies[:4]])
    )


def test_charges_of_one_study_are_over_one_part_however_they_are_listed() -> None:
    listed = [study_of("a", everyone(4)), study_of("b"), study_of("a", (), everyone(4, 3))]

    assert events_by_patients(listed) == (everyone(4, 3),)
    assert events_by_patients([]) == ((),)
    assert events_by_patients([study_of("a"), study_of("b")]) == ((),)
    assert worst_patient_epsilon([], delta=DELTA) == 0


@pytest.mark.parametrize("delta", [5.1e-11, 1e-9, 1e-8, 1e-5, 1e-3, 0.1])
def test_the_gap_of_the_sampler_is_taken_off_delta(delta: float) -> None:
    gap = (1 + math.exp(50)) * TOTAL_VARIATION_PER_DRAW * 3e14

    assert delta - cohort_accounting_delta(delta) >= gap
    assert cohort_accounting_delta(delta) > 0.999_999 * delta


@pytest.mark.parametrize("holdout", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(holdout: float) -> None:
    with pytest.raises(ValueError, match="holdout"):
        StudyCharges(study_digest="a", holdout=holdout)
