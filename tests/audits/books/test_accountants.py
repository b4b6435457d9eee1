"""Two processes say the same as one, and a dead one costs time alone."""

from __future__ import annotations

import pytest

from fedward.audits.books.accountants import Accountants, Job
from fedward.audits.books.opacus_process import OpacusProcess
from fedward.audits.books.recomputation import OpacusQuestion, question_of, recomputed
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import cross_checked_epsilon
from fedward.common.privacy.cross_check import OpacusOpinion, opacus_opinion
from fedward.common.privacy.events import GaussianEvent

SAMPLED = (GaussianEvent(noise_multiplier=2.0, sampling_rate=0.1, count=30),)
LOUD = (GaussianEvent(noise_multiplier=0.1),)
JOBS: tuple[Job, ...] = (
    (SAMPLED, 1e-5),
    (LOUD, 1e-5),
    (None, 1e-5),
    ((), 1e-5),
    (SAMPLED, 1e-12),
    ((*SAMPLED, *SAMPLED), 1e-5),
)


def test_a_process_apart_gives_the_same_answers() -> None:
    with Accountants(apart=True) as apart, Accountants(apart=False) as here:
        one, other = apart.answers(JOBS), here.answers(JOBS)

    for job in JOBS:
        left, right = Accountants.of(one, job), Accountants.of(other, job)
        assert type(left) is type(right)
        if isinstance(left, PrivacyRefusal) or isinstance(right, PrivacyRefusal):
            assert str(left) == str(right)
        else:
            # Another process may add up in another order.
            assert left.note == right.note
            for name in ("epsilon", "prv_low", "prv_high", "rdp"):
                one_says, other_says = getattr(left, name), getattr(right, name)
                assert (one_says is None) == (other_says is None)
                assert one_says is None or one_says == pytest.approx(other_says, rel=1e-9)


def test_answers_are_those_of_the_cross_check_and_refusals_are_told() -> None:
    with Accountants(apart=False) as accountants:
        answers = accountants.answers(JOBS)

    checked = cross_checked_epsilon(SAMPLED, delta=1e-5)
    found = Accountants.of(answers, JOBS[0])
    assert not isinstance(found, PrivacyRefusal)
    assert (found.epsilon, found.prv_low, found.rdp) == (
        checked.epsilon,
        checked.prv_low,
        checked.rdp,
    )
    unnoised = Accountants.of(answers, JOBS[2])
    assert not isinstance(unnoised, PrivacyRefusal)
    assert unnoised.epsilon is None
    assert isinstance(Accountants.of(answers, JOBS[4]), PrivacyRefusal)


def test_a_process_that_died_is_done_without() -> None:
    with Accountants(apart=True) as accountants:
        assert accountants._opacus is not None
        accountants._opacus._process.kill()
        answers = accountants.answers(JOBS[:1])

    found = Accountants.of(answers, JOBS[0])
    assert not isinstance(found, PrivacyRefusal)
    assert found.epsilon == pytest.approx(
        cross_checked_epsilon(SAMPLED, delta=1e-5).epsilon, abs=1e-9
    )


def question() -> OpacusQuestion:
    found = question_of(SAMPLED, delta=1e-5)
    assert found is not None
    return found


def test_opacus_says_the_same_in_its_own_process_and_tells_what_it_cannot_do() -> None:
    asked = question()
    opacus = OpacusProcess()
    opacus.ask(asked.events, delta=asked.delta, epsilon=asked.epsilon)
    opacus.ask(asked.events, delta=0.0, epsilon=asked.epsilon)

    answers = opacus.answers()

    assert answers is not None
    right, refused = answers
    assert right == opacus_opinion(asked.events, delta=asked.delta, epsilon=asked.epsilon)
    assert isinstance(refused, PrivacyRefusal)
    assert "An accountant failed" in str(refused)


def test_a_process_that_was_killed_has_no_answers() -> None:
    opacus = OpacusProcess()
    opacus._process.kill()
    opacus._process.wait()
    asked = question()
    opacus.ask(asked.events, delta=asked.delta, epsilon=asked.epsilon)

    assert opacus.answers() is None


@pytest.mark.parametrize(
    "changes", [{"prv_high": 0.9}, {"prv_high": 1.2}, {"rdp": 0.5}, {"rdp": float("nan")}]
)
def test_an_opinion_that_contradicts_pld_is_a_refusal(changes: dict[str, float]) -> None:
    asked = question()
    right = opacus_opinion(asked.events, delta=asked.delta, epsilon=asked.epsilon)
    assert recomputed(SAMPLED, delta=1e-5, opinion=right).epsilon == asked.epsilon
    said = {"prv_high": right.prv_high, "rdp": right.rdp}
    wrong = OpacusOpinion(**{name: said[name] * changes.get(name, 1.0) for name in said})

    with pytest.raises(PrivacyRefusal):
        recomputed(SAMPLED, delta=1e-5, opinion=wrong)


def test_nothing_is_asked_where_nothing_was_released_or_no_guarantee_is_given() -> None:
    assert question_of(None, delta=1e-5) is None
    assert question_of((), delta=1e-5) is None
    assert question_of(LOUD, delta=1e-5) is None
