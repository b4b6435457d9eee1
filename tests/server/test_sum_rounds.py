from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fedward.common.privacy.plan import plan_for
from fedward.common.privacy.sum_plan import SumPlan
from fedward.common.protocol.queries import (
    OpenSessionQuery,
    SiteEvaluationQuery,
    decode_query,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import ExecutedNoise, RefusalReason
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.study.definition import Study
from fedward.server.attempt import WantedSum
from fedward.server.errors import BudgetSpent, CoordinationError
from fedward.server.sum_rounds import SumRounds
from fedward.simulations.engines.node_numbers import node_of

Federate = Callable[..., Any]
Begun = Callable[..., SumRounds]
Wanted = Callable[..., WantedSum]
UNIT = 2.0**-24
ERROR = RuntimeError("out of memory")


def failing(*_: object) -> RuntimeError:
    return ERROR


def noise_of(plan: SumPlan, *, share: float) -> ExecutedNoise:
    return ExecutedNoise(
        noise_multiplier=plan.noise_multiplier, share_multiplier=share, sampling_rate=1.0, count=1
    )


def test_a_sum_is_that_of_all_sites(
    federate: Federate, begun: Begun, wanted: Wanted, study: Study
) -> None:
    federation = federate(study=study, a=(1, -1, 2**40, 5), b=(2, -2, 2**40, -5), c=(4, -4, 7, 0))
    rounds = begun(federation.grid(), federation.options())
    summed = rounds.ask(wanted())

    assert summed.total.tolist() == [7 * UNIT, -7 * UNIT, (2**41 + 7) * UNIT, 0.0]
    assert summed.sites == ("a", "b", "c")
    # Any two of three shares make up what is planned.
    planned = plan_for(study, sites=3).training.noise_multiplier
    assert summed.noise == pytest.approx(planned * (3 / 2) ** 0.5)
    assert [line.summed for line in rounds.log.records] == [True] * 3


def test_a_lost_answer_costs_an_attempt_and_the_site(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate()
    federation.sites["b"].faults = {1: failing}
    grid = federation.grid()
    rounds = begun(grid, federation.options())
    summed = rounds.ask(wanted())
    first, second = grid.sums

    assert summed.total.tolist() == [2 * UNIT * value for value in (1, 2, 3, 4)]
    assert summed.sites == rounds.sites == ("a", "c")
    assert (first.round, first.attempt, first.roster) == (3, 1, ("a", "b", "c"))
    assert (second.round, second.attempt, second.roster) == (3, 2, ("a", "c"))
    lines = [(line.site, line.attempt, line.summed, line.failure) for line in rounds.log.records]
    assert lines == [
        ("a", 1, False, None),
        ("b", 1, False, "out of memory"),
        ("c", 1, False, None),
        ("a", 2, True, None),
        ("c", 2, True, None),
    ]
    assert rounds.log.lost("training") == 1
    assert {site: rounds.log.charged(site)["training"] for site in "abc"} == {
        "a": 2,
        "b": 1,
        "c": 2,
    }


def test_several_may_fail_at_once_and_one_after_the_other(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate("abcdef")
    federation.sites["b"].faults = {1: failing}
    federation.sites["e"].faults = {1: failing}
    federation.sites["a"].faults = {2: failing}
    grid = federation.grid()
    summed = begun(grid, federation.options()).ask(wanted())

    assert summed.sites == ("c", "d", "f")
    assert [query.roster for query in grid.sums] == [
        tuple("abcdef"),
        ("a", "c", "d", "f"),
        ("c", "d", "f"),
    ]


def test_below_the_minimum_it_says_who_failed_when_and_why(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate()
    federation.sites["b"].faults = {2: failing}
    federation.sites["c"].faults = {
        1: lambda frame: federation.sites["c"].refused(frame, RefusalReason.BUDGET_EXCEEDED)
    }
    rounds = begun(federation.grid(), federation.options())

    with pytest.raises(CoordinationError) as caught:
        rounds.ask(wanted())
    assert str(caught.value) == (
        "1 of 3 sites are left for the training sum of round 3, and 2 are needed: "
        "b in the training sum of round 3, attempt 2: out of memory; "
        "c in the training sum of round 3, attempt 1: refused (budget_exceeded): "
        "It does not want to."
    )
    # Whoever refused beforehand is not charged.
    assert rounds.log.charged("c") == {}


def test_every_lost_attempt_is_told_at_once(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate("abcd")
    federation.sites["b"].faults = {1: failing}
    federation.sites["c"].faults = {2: failing}
    logged: list[int] = []
    rounds = begun(
        federation.grid(), federation.options(), on_lost=lambda: logged.append(len(rounds.log))
    )
    rounds.ask(wanted())

    assert logged == [4, 7]


def test_a_place_that_was_used_before_is_passed_over_with_everybody(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    """A coordinator that was killed after it had asked does not know of it; the vaults do."""
    federation = federate()
    for name in "ac":
        site = federation.sites[name]
        site.faults = {
            1: lambda frame, site=site: site.refused(frame, RefusalReason.ALREADY_ANSWERED)
        }
    grid = federation.grid()
    rounds = begun(grid, federation.options())
    summed = rounds.ask(wanted())

    assert summed.sites == ("a", "b", "c")
    assert [(query.attempt, query.roster) for query in grid.sums] == [
        (1, ("a", "b", "c")),
        (2, ("a", "b", "c")),
    ]
    assert {site: rounds.log.charged(site)["training"] for site in "abc"} == dict.fromkeys("abc", 2)


def answering_before(site: Any) -> Callable[[bytes], object]:
    return lambda frame: site.refused(frame, RefusalReason.ALREADY_ANSWERED)


def test_a_site_that_says_so_again_and_again_is_left_out_for_good(
    federate: Federate, begun: Begun, wanted: Wanted, study: Study
) -> None:
    """It would use up what all others may be asked."""
    federation = federate("abcd", study)
    site = federation.sites["b"]
    site.faults = dict.fromkeys(range(1, 100), answering_before(site))
    grid = federation.grid()
    rounds = begun(grid, federation.options(rejoin_after=1))
    summed = [rounds.ask(wanted(round=number)) for number in (1, 2)]

    assert [one.sites for one in summed] == [("a", "c", "d")] * 2
    assert [(query.round, query.attempt, len(query.roster)) for query in grid.sums] == [
        (1, 1, 4),
        (1, 2, 4),
        (1, 3, 3),
        (2, 1, 3),
    ]
    assert rounds.log.lost("training") == 2


def test_it_may_say_so_once_and_not_once_in_every_round(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    """A coordinator that goes on after a crash has one attempt at most that it does not know of."""
    federation = federate()
    site = federation.sites["b"]
    site.faults = {1: answering_before(site), 3: answering_before(site)}
    grid = federation.grid()
    rounds = begun(grid, federation.options())

    assert rounds.ask(wanted(round=1)).sites == ("a", "b", "c")
    assert rounds.ask(wanted(round=2)).sites == ("a", "c")
    assert [(query.round, query.attempt) for query in grid.sums] == [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("share", [5e-324, 1.7e308])
def test_a_site_that_declares_a_noise_of_its_own_does_not_come_back(
    federate: Federate, begun: Begun, wanted: Wanted, study: Study, share: float
) -> None:
    federation = federate("abcd", study)
    plan = plan_for(study, sites=4).training
    federation.sites["b"].changes["executed"] = noise_of(plan, share=share)
    grid = federation.grid()
    rounds = begun(grid, federation.options(rejoin_after=1))
    summed = [rounds.ask(wanted(round=number)) for number in (1, 2)]

    planned = plan.noise_multiplier * (3 / 2) ** 0.5
    assert [one.sites for one in summed] == [("a", "c", "d")] * 2
    assert [one.noise for one in summed] == pytest.approx([planned] * 2)
    # What it is taken to have cost is not what it says.
    assert {line.executed for line in rounds.log.records if line.site == "b"} == {
        noise_of(plan, share=plan.share_multiplier)
    }


def test_keys_go_with_the_first_sum_and_again_while_somebody_lacks_them(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate("abcd")
    federation.sites["b"].faults = {1: failing}
    grid = federation.grid()
    rounds = begun(grid, federation.options())
    rounds.ask(wanted(), among=("a", "b", "c"))
    rounds.ask(wanted(round=4))
    rounds.ask(wanted(round=5))

    # c and a had them when b failed; d, asked for the first time in round 4, had not.
    assert [(query.round, query.attempt, len(query.offers)) for query in grid.sums] == [
        (3, 1, 4),
        (3, 2, 0),
        (4, 1, 4),
        (5, 1, 0),
    ]


def test_a_site_comes_back_with_the_next_session(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate()
    federation.sites["b"].faults = {1: failing}
    grid = federation.grid()
    rounds = begun(grid, federation.options(rejoin_after=2))
    sites = [rounds.ask(wanted(round=number)).sites for number in range(3, 7)]

    assert sites == [("a", "c"), ("a", "c"), ("a", "b", "c"), ("a", "b", "c")]
    assert [(query.session, query.round, len(query.offers)) for query in grid.sums] == [
        (1, 3, 3),
        (1, 3, 0),
        (1, 4, 0),
        (2, 5, 3),
        (2, 6, 0),
    ]
    assert rounds.last_session == 2


def test_a_vault_that_was_restarted_comes_back_likewise(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate()
    grid = federation.grid()
    rounds = begun(grid, federation.options(rejoin_after=1))
    rounds.ask(wanted(round=1))
    federation.sites["b"].sessions.clear()
    federation.sites["b"].joined.clear()

    # It knows nothing of its session, so one attempt is lost, and the next session has it again.
    assert rounds.ask(wanted(round=2)).sites == ("a", "c")
    assert rounds.ask(wanted(round=3)).sites == ("a", "b", "c")
    assert rounds.log.lost("training") == 1


def test_two_sites_go_on_when_one_of_them_was_restarted(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate("ab")
    grid = federation.grid()
    rounds = begun(grid, federation.options(rejoin_after=100))
    rounds.ask(wanted(round=1))
    federation.sites["b"].sessions.clear()
    federation.sites["b"].joined.clear()

    assert rounds.ask(wanted(round=2)).sites == ("a", "b")
    assert [(query.session, query.round, query.attempt) for query in grid.sums] == [
        (1, 1, 1),
        (1, 2, 1),
        (2, 2, 2),
    ]
    # It said itself that it had not answered, so it was charged for two sums, and a for three.
    assert rounds.log.charged("b")["training"] == 2
    assert rounds.log.charged("a")["training"] == 3


def test_the_budget_pays_for_lost_attempts_as_for_others(
    federate: Federate, begun: Begun, wanted: Wanted, study: Study
) -> None:
    federation = federate("abcd", study)
    federation.sites["d"].faults = {2: failing}
    rounds = begun(federation.grid(), federation.options())
    left = [rounds.left("training", set_aside={"moments": 1})]
    for number in range(1, 4):
        rounds.ask(wanted(round=number), set_aside={"moments": 1})
        left.append(rounds.left("training", set_aside={"moments": 1}))

    assert left == [4, 3, 1, 0]
    # d was asked twice, and the others four times.
    assert rounds.left("training", sites=["d"], set_aside={"moments": 1}) == 2
    with pytest.raises(BudgetSpent, match="pays for no other attempt at the training sum of round"):
        rounds.ask(wanted(round=4), set_aside={"moments": 1})


def test_the_budget_may_end_between_two_attempts(
    federate: Federate, begun: Begun, wanted: Wanted, study: Study
) -> None:
    federation = federate("abcd", study)
    federation.sites["d"].faults = {4: failing}
    grid = federation.grid()
    rounds = begun(grid, federation.options())
    for number in range(1, 4):
        rounds.ask(wanted(round=number), set_aside={"moments": 1})

    with pytest.raises(BudgetSpent):
        rounds.ask(wanted(round=4), set_aside={"moments": 1})
    assert [(query.round, query.attempt) for query in grid.sums][-1] == (4, 1)


def test_attempts_are_bounded_whatever_happens(
    federate: Federate, begun: Begun, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = federate("abcdef")
    for number, name in enumerate("abcd", 1):
        federation.sites[name].faults = {number: failing}
    monkeypatch.setattr("fedward.server.sum_rounds.MAX_ATTEMPTS", 3)
    grid = federation.grid()

    with pytest.raises(CoordinationError, match="3 attempts at the training sum of round 3"):
        begun(grid, federation.options()).ask(wanted())
    assert [query.attempt for query in grid.sums] == [1, 2, 3]


def test_a_lost_answer_is_taken_to_have_had_the_share_of_the_whole_roster(
    federate: Federate, begun: Begun, wanted: Wanted, study: Study
) -> None:
    federation = federate("abcd", study)
    # More cautious than the study: what it declares says nothing of the others.
    sum_of_four = plan_for(study, sites=4).training
    cautious = noise_of(sum_of_four, share=sum_of_four.noise_multiplier)
    federation.sites["a"].changes["executed"] = cautious
    federation.sites["c"].faults = {1: failing}
    federation.sites["b"].faults = {2: failing}
    rounds = begun(federation.grid(), federation.options())
    rounds.ask(wanted(), set_aside={"moments": 1})
    told = {(line.site, line.attempt): line.executed for line in rounds.log.records}

    # A vault that says it has answered before may have answered to all sites of the roster.
    least = noise_of(sum_of_four, share=sum_of_four.share_multiplier)
    assert told["c", 1] == told["b", 2] == told["b", 1] == least
    assert told["a", 1] == told["a", 2] == cautious
    fewer = plan_for(study, sites=3).training
    assert told["d", 2] == noise_of(fewer, share=fewer.share_multiplier)


def test_a_run_that_goes_on_asks_for_attempts_that_are_new(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate()
    federation.sites["b"].faults = {1: failing}
    before = begun(federation.grid(), federation.options())
    before.ask(wanted())
    grid = federation.grid()
    after = begun(grid, federation.options(), records=before.log.records, last_session=1)
    summed = after.ask(wanted())

    assert summed.sites == ("a", "b", "c")
    assert [(query.session, query.attempt) for query in grid.sums] == [(2, 3)]


def each(wanted: Wanted, **changes: Any) -> WantedSum:
    return wanted(kind="site_evaluation", query=SiteEvaluationQuery, round=6, **changes)


def test_each_site_releases_its_own_figures(
    federate: Federate, make_study: Callable[..., Study], wanted: Wanted
) -> None:
    study = make_study(evaluation={"per_site": True})
    federation = federate(study=study, a=(1, 2, 3, 4), b=(5, 6, 7, 8), c=(0, 0, 0, -1))
    rounds = SumRounds(federation.grid(), study, federation.options())
    rounds.begin()
    released, missing = rounds.ask_each(each(wanted))

    assert {site: own.total.tolist() for site, own in released.items()} == {
        "a": [UNIT, 2 * UNIT, 3 * UNIT, 4 * UNIT],
        "b": [5 * UNIT, 6 * UNIT, 7 * UNIT, 8 * UNIT],
        "c": [0.0, 0.0, 0.0, -UNIT],
    }
    plan = plan_for(study, sites=3).site_evaluation
    assert plan is not None
    assert {own.noise for own in released.values()} == {plan.noise_multiplier}
    assert missing == {}
    assert [line.masked for line in rounds.log.records] == [False] * 3


def test_a_site_cannot_share_the_noise_of_its_own_figures(
    federate: Federate, make_study: Callable[..., Study], wanted: Wanted
) -> None:
    study = make_study(evaluation={"per_site": True})
    plan = plan_for(study, sites=3).site_evaluation
    assert plan is not None
    federation = federate(study=study)
    share = plan.noise_multiplier / 2**0.5
    federation.sites["b"].changes["executed"] = noise_of(plan, share=share)
    rounds = SumRounds(federation.grid(), study, federation.options())
    rounds.begin()
    released, missing = rounds.ask_each(each(wanted))

    assert set(released) == {"a", "c"}
    assert missing == {"b": "declares other noise than the study plans"}
    assert rounds.sites == ("a", "c")


def test_who_releases_none_is_missing_and_asked_no_more_unless_it_refused(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    federation = federate("abcd")
    federation.sites["a"].faults = {
        1: lambda frame: federation.sites["a"].refused(frame, RefusalReason.NOT_ALLOWED)
    }
    federation.sites["b"].faults = {1: failing}
    # Half of the ring: no codec lets a sum get there.
    federation.sites["d"].summand = lambda _: (2**63, 0, 0, 0)
    grid = federation.grid()
    rounds = begun(grid, federation.options())
    released, missing = rounds.ask_each(each(wanted))

    assert set(released) == {"c"}
    assert missing == {
        "a": "refused (not_allowed): It does not want to.",
        "b": "out of memory",
        "d": "sent what is no sum",
    }
    assert len(grid.sums) == 1
    assert rounds.sites == ("a", "c", "d")
    assert rounds.log.charged("a") == {}
    assert {line.site: line.summed for line in rounds.log.records} == {
        "a": False,
        "b": False,
        "c": True,
        "d": True,
    }


def test_a_site_that_left_is_missing_too(federate: Federate, begun: Begun, wanted: Wanted) -> None:
    federation = federate()
    federation.sites["b"].faults = {1: failing}
    rounds = begun(federation.grid(), federation.options())
    rounds.ask(wanted())

    assert rounds.ask_each(each(wanted))[1] == {"b": "does not take part"}


def test_what_does_not_add_up_is_told_and_not_used(
    federate: Federate, begun: Begun, wanted: Wanted
) -> None:
    """The courier of b changes the model that its vault is asked about, and b lies about it."""
    federation = federate(**{name: range(40) for name in "abc"})
    site = federation.sites["b"]
    grid = federation.grid()

    def other_question(frame: bytes) -> object:
        query, arrays = decode_query(frame)
        if isinstance(query, OpenSessionQuery):
            return site.answer(frame)
        site.changes["query_digest"] = frame_digest(frame)
        return site.answer(encode_query(query, arrays | {"scale": arrays["scale"] * 2}))

    grid.nodes[node_of(1)] = other_question
    rounds = begun(grid, federation.options())

    with pytest.raises(CoordinationError, match="does not add up: their masks are of different"):
        rounds.ask(wanted(length=40))


@pytest.mark.parametrize("equivocates", [False, True])
def test_sites_that_are_asked_two_things_give_noise_and_nothing_else(
    federate: Federate, study: Study, wanted: Wanted, equivocates: bool
) -> None:
    """A coordinator that shows one site another roster, model or attempt learns nothing of it."""
    length = 4000
    federation = federate(**{name: [7] * length for name in "abc"})
    asked = wanted(length=length)
    place: dict[str, Any] = {"run_id": "run", "study_digest": study.digest, "session": 1}
    opening = OpenSessionQuery(signed_roster=federation.signed_roster, **place)
    sites = federation.sites
    opened = [site.opened(opening, encode_query(opening, {})).offer for site in sites.values()]
    place |= {"attempt": 1, "offers": tuple(opened)}
    _, frame = asked.framed(roster=("a", "b", "c"), **place)
    other = frame
    if equivocates:
        _, other = asked.framed(roster=("a", "b"), **place)
    running = RunningSum(length)
    for name, shown in (("a", other), ("b", frame), ("c", frame)):
        _, elements = open_sealed(sites[name].released(shown)).answer_of(
            sites[name].identity.public_key
        )
        assert elements is not None
        running.add(elements)
    total = running.total

    uniform = stats.kstest(total / 2.0**64, "uniform").pvalue
    bits = np.unpackbits(total.view(np.uint8))
    fair = stats.binomtest(int(bits.sum()), bits.size).pvalue
    if equivocates:
        assert uniform > 1e-6
        assert fair > 1e-6
    else:
        assert (total == 21).all()
        assert uniform < 1e-6
        assert fair < 1e-6


def test_memory_does_not_grow_with_the_number_of_sites(
    federate: Federate, study: Study, wanted: Wanted, begun: Begun
) -> None:
    length = 10**5

    def peak(sites: int) -> int:
        names = [f"site-{number:02}" for number in range(sites)]
        federation = federate(names, **dict.fromkeys(names, np.arange(length)))
        rounds = begun(federation.grid(), federation.options())
        rounds.ask(wanted(length=length))  # the sites join, and keep a secret for each other site
        tracemalloc.start()
        summed = rounds.ask(wanted(length=length, round=4))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert summed.total[1] == sites * UNIT
        return most

    few, many = peak(8), peak(64)
    vector = 8 * length
    # All answers of 64 sites would be 64 vectors.
    assert few < 6 * vector
    assert many - few < 2 * vector
