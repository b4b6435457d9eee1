from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from fedward.common.ledger.heads import LedgerPosition
from fedward.common.protocol.queries import (
    CountsQuery,
    EvaluationQuery,
    OpenSessionQuery,
    decode_query,
    frame_digest,
)
from fedward.common.protocol.releases import ExecutedNoise, RefusalReason
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.study.definition import Study
from fedward.server.attempt import Attempt, WantedSum
from fedward.server.exchange import Exchange
from fedward.server.sessions import SessionOpener
from fedward.simulations.engines.node_numbers import node_of

Federate = Callable[..., Any]
Wanted = Callable[..., WantedSum]
Node = Callable[[bytes], object]
OTHER = "f" * 64
NOISE = ExecutedNoise(noise_multiplier=2.0, share_multiplier=1.0, sampling_rate=1.0, count=1)
UNKNOWN = ExecutedNoise(noise_multiplier=9.0, share_multiplier=0.1, sampling_rate=1.0, count=1)


@pytest.fixture
def attempted(study: Study, wanted: Wanted) -> Callable[..., tuple[Attempt, list[int]]]:
    """One attempt over all nodes of a grid, and the sum of what it accepted."""

    def attempt(
        federation: Any, grid: Any, *, planned: ExecutedNoise | None = NOISE
    ) -> tuple[Attempt, list[int]]:
        asked = wanted()
        for site in federation.sites.values():
            site.executed = lambda _: planned
        exchange = Exchange(grid, timeout=60.0, poll_seconds=0.001)
        heads = federation.seen_heads()
        session = SessionOpener(
            exchange,
            run_id="run",
            study_digest=study.digest,
            signed_roster=federation.signed_roster,
            heads=heads,
        ).open(1, exchange.node_ids())
        query, frame = asked.framed(
            run_id="run",
            study_digest=study.digest,
            session=1,
            roster=session.sites,
            attempt=2,
            offers=session.offers,
        )
        found = Attempt(
            query,
            frame,
            wanted=asked,
            roster=federation.signed_roster.roster,
            planned=planned,
            heads=heads,
        )
        running = RunningSum(asked.length)
        found.ask(exchange, session.nodes, lambda _, elements: running.add(elements))
        return found, running.total.view(np.int64).tolist()

    return attempt


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_masked_releases_add_up_in_any_order(
    federate: Federate, attempted: Callable[..., Any], order: tuple[int, ...]
) -> None:
    federation = federate(a=(1, -1, 2**63, 5), b=(2, -2, 2**63, -5), c=(4, -4, 7, 0))
    grid = federation.grid(order=order)
    attempt, total = attempted(federation, grid)

    # The third coordinate wraps around 2^64 on the way and comes out right.
    assert total == [7, -7, 7, 0]
    assert attempt.failures == {}
    assert list(attempt.releases) == ["abc"[position] for position in order]
    assert all(release.masked for release in attempt.releases.values())


def test_all_sites_are_asked_the_same_bytes(
    federate: Federate, attempted: Callable[..., Any]
) -> None:
    federation = federate()
    grid = federation.grid()
    attempted(federation, grid)

    assert len(grid.frames) == 6
    assert len(set(grid.frames)) == 2


def test_every_site_has_its_line_of_the_log(
    federate: Federate, attempted: Callable[..., Any]
) -> None:
    federation = federate()
    grid = federation.grid()
    answers: dict[str, bytes] = {}
    for number, name in enumerate("abc"):
        node = grid.nodes[node_of(number)]
        grid.nodes[node_of(number)] = lambda frame, node=node, name=name: answers.setdefault(
            name + str(len(frame)), node(frame)
        )
    attempt, _ = attempted(federation, grid)
    records = attempt.records(summed=True, unknown=UNKNOWN)
    frame = grid.frames[-1]

    assert [record.site for record in records] == ["a", "b", "c"]
    for record in records:
        answer = answers[record.site + str(len(frame))]
        assert (record.kind, record.session, record.round, record.attempt) == ("training", 1, 3, 2)
        assert record.query_digest == frame_digest(frame)
        assert record.release_digest == frame_digest(answer[:-64])
        assert (record.bytes, record.query_bytes) == (len(answer), len(frame))
        assert record.executed is not None
        assert record.executed.share_multiplier == 1.0
        assert record.summed
        assert record.charged
        assert record.masked
        assert record.failure is None


def on_sums(site: Any, said: Callable[[bytes], object]) -> Node:
    """Opens sessions as it should, and answers sums in another way."""
    return lambda frame: (
        site.answer(frame) if isinstance(decode_query(frame)[0], OpenSessionQuery) else said(frame)
    )


def releasing(**changes: Any) -> Callable[[Any], Callable[[bytes], object]]:
    return lambda federation: lambda frame: federation.sites["b"].released(frame, **changes)


def refusing(reason: RefusalReason, **changes: Any) -> Callable[[Any], Callable[[bytes], object]]:
    return lambda federation: lambda frame: federation.sites["b"].refused(frame, reason, **changes)


def sealed_by_a(federation: Any) -> Callable[[bytes], object]:
    def answer(frame: bytes) -> bytes:
        sealed = federation.sites["b"].released(frame)
        return bytes(sealed[:-64]) + federation.sites["a"].identity.sign("answer", b"x" * 32)

    return answer


def replayed(federation: Any) -> Callable[[bytes], object]:
    """What b answered to another query, with b's own seal."""

    def answer(frame: bytes) -> bytes:
        return bytes(federation.sites["b"].released(frame, query_digest=OTHER))

    return answer


def of_a(federation: Any) -> Callable[[bytes], object]:
    return lambda _: federation.sites["a"].sent


WRONG: dict[str, tuple[Callable[[Any], Callable[[bytes], object]], str, bool]] = {
    "silence": (lambda _: lambda _: None, "no reply in time", True),
    "a crash": (lambda _: lambda _: RuntimeError("out of memory"), "out of memory", True),
    "garbage": (lambda _: lambda _: b"garbage", "sent a bad answer", True),
    "the query itself": (lambda _: lambda frame: frame, "sent a bad answer", True),
    "far too much": (lambda _: lambda _: bytes(2**17), "131072 bytes is too long", True),
    "nothing but a seal": (lambda _: lambda _: b"s" * 64, "sent a bad answer", True),
    "a foreign seal": (sealed_by_a, "not signed with the site's key", True),
    "another site's release": (of_a, "not signed with the site's key", True),
    "a refusal": (refusing(RefusalReason.BUDGET_EXCEEDED), "refused (budget_exceeded)", False),
    "a refusal of what is computed": (refusing(RefusalReason.PRIVACY), "refused (privacy)", True),
    "a refusal in another's name": (
        refusing(RefusalReason.BUDGET_EXCEEDED, site="c"),
        "answered another query",
        True,
    ),
    "a refusal of another query": (
        refusing(RefusalReason.BUDGET_EXCEEDED, query_digest=OTHER),
        "answered another query",
        True,
    ),
    "a release in another's name": (releasing(site="c"), "answered another query", True),
    "another round": (releasing(round=2), "answered another query", True),
    "another attempt": (releasing(attempt=1), "answered another query", True),
    "another run": (releasing(run_id="other"), "answered another query", True),
    "another study": (releasing(study_digest=OTHER), "answered another query", True),
    "a replay": (replayed, "answered another query", True),
    "another unit": (releasing(scale_bits=23), "in another ring than most", True),
    "no mask": (releasing(masked=False), "in another ring than most", True),
    "too long a sum": (releasing(summand=[1] * 5), "5 numbers instead of 4", True),
    "too short a sum": (releasing(summand=[1]), "1 numbers instead of 4", True),
}


@pytest.mark.parametrize(("fault", "why", "charged"), WRONG.values(), ids=WRONG)
def test_a_site_that_does_not_answer_the_query_has_failed(
    federate: Federate,
    attempted: Callable[..., Any],
    impatient: Callable[[Any], Any],
    fault: Callable[[Any], Callable[[bytes], object]],
    why: str,
    charged: bool,
) -> None:
    federation = federate()
    grid = impatient(federation.grid())
    grid.nodes[node_of(1)] = on_sums(federation.sites["b"], fault(federation))
    attempt, _ = attempted(federation, grid)
    lines = {line.site: line for line in attempt.records(summed=False, unknown=UNKNOWN)}

    assert set(attempt.failures) == {"b"}
    assert why in attempt.failures["b"].why
    assert lines["b"].failure == attempt.failures["b"].why
    assert lines["b"].charged == attempt.failures["b"].charged == charged
    assert (lines["b"].executed is not None) == charged
    # The others answered, and are charged.
    for site in "ac":
        assert lines[site].failure is None
        assert lines[site].release_digest is not None
        assert lines[site].charged
        assert not lines[site].summed


def test_what_a_lost_answer_executed_is_taken_from_others(
    federate: Federate, attempted: Callable[..., Any]
) -> None:
    federation = federate()
    federation.sites["b"].faults[1] = lambda _: RuntimeError("gone")
    attempt, _ = attempted(federation, federation.grid())
    line = attempt.records(summed=False, unknown=UNKNOWN)[1]

    assert line.executed == UNKNOWN
    assert (line.release_digest, line.bytes, line.masked) == (None, 0, False)


OTHER_NOISE: dict[str, ExecutedNoise | None] = {
    "none": None,
    "less in the sum": NOISE.model_copy(update={"noise_multiplier": 1.99}),
    "more in the sum": NOISE.model_copy(update={"noise_multiplier": 2.01}),
    "a share that hides nothing": NOISE.model_copy(update={"share_multiplier": 5e-324}),
    "a smaller share": NOISE.model_copy(update={"share_multiplier": 0.999}),
    "a share above the sum": NOISE.model_copy(update={"share_multiplier": 2.001}),
    "a share beyond measure": NOISE.model_copy(update={"share_multiplier": 1.7e308}),
    "another rate": NOISE.model_copy(update={"sampling_rate": 0.5}),
    "another number of steps": NOISE.model_copy(update={"count": 2}),
}


@pytest.mark.parametrize("declared", OTHER_NOISE.values(), ids=OTHER_NOISE)
def test_a_site_that_declares_other_noise_than_is_planned_has_failed_for_good(
    federate: Federate, attempted: Callable[..., Any], declared: ExecutedNoise | None
) -> None:
    federation = federate()
    federation.sites["b"].changes["executed"] = declared
    attempt, total = attempted(federation, federation.grid())
    failure = attempt.failures["b"]
    lines = {line.site: line for line in attempt.records(summed=False, unknown=UNKNOWN)}

    assert set(attempt.failures) == {"b"}
    assert failure.why == "declares other noise than the study plans"
    assert (failure.charged, failure.may_pass, failure.stays) == (True, False, False)
    # Nothing of what it declares is used, and its elements are in no sum.
    assert "b" not in attempt.releases
    assert lines["b"].executed == UNKNOWN
    assert total != [3, 6, 9, 12]


@pytest.mark.parametrize("share", [1.0, 1.5, 2.0])
def test_a_site_may_be_more_cautious_than_the_study(
    federate: Federate, attempted: Callable[..., Any], share: float
) -> None:
    federation = federate()
    declared = NOISE.model_copy(update={"share_multiplier": share})
    federation.sites["b"].changes["executed"] = declared
    attempt, total = attempted(federation, federation.grid())

    assert attempt.failures == {}
    assert attempt.releases["b"].executed == declared
    assert total == [3, 6, 9, 12]


def test_a_release_whose_ledger_went_back_is_its_sites_failure(
    federate: Federate, attempted: Callable[..., Any]
) -> None:
    federation = federate()
    for site in federation.sites.values():
        site.entries = 10

    def after_a_restore(frame: bytes) -> bytes:
        federation.sites["b"].entries = 6
        return bytes(federation.sites["b"].released(frame))

    federation.sites["b"].faults[1] = after_a_restore
    attempt, total = attempted(federation, federation.grid())
    failure = attempt.failures["b"]
    lines = {line.site: line for line in attempt.records(summed=False, unknown=UNKNOWN)}

    assert set(attempt.failures) == {"b"}
    assert failure.why == "shows a ledger that went back from entry 9 to 6"
    assert (failure.charged, failure.may_pass, failure.stays) == (True, False, False)
    assert (lines["b"].release_digest, lines["b"].ledger) == (None, None)
    assert total != [3, 6, 9, 12]
    for name in "ac":
        assert lines[name].ledger == LedgerPosition(sequence=10, digest=f"{10:064x}")


def test_the_head_of_a_release_with_other_noise_is_known_all_the_same(
    federate: Federate, study: Study, wanted: Wanted
) -> None:
    federation = federate()
    site = federation.sites["b"]
    site.entries = 10
    site.executed = lambda _: NOISE
    heads, grid = federation.seen_heads(), federation.grid()
    exchange = Exchange(grid, timeout=60.0, poll_seconds=0.001)
    session = SessionOpener(
        exchange,
        run_id="run",
        study_digest=study.digest,
        signed_roster=federation.signed_roster,
        heads=heads,
    ).open(1, exchange.node_ids())
    place: dict[str, Any] = {"run_id": "run", "study_digest": study.digest, "session": 1}
    query, frame = wanted().framed(**place, roster=session.sites, attempt=1, offers=session.offers)
    attempt = Attempt(
        query,
        frame,
        wanted=wanted(),
        roster=federation.signed_roster.roster,
        planned=None,
        heads=heads,
    )
    attempt.ask(exchange, session.nodes, lambda *_: None)

    assert "other noise" in attempt.failures["b"].why
    assert [(known.head.site, known.head.sequence) for known in heads.known] == [("b", 10)]


def test_where_nothing_is_planned_a_site_must_not_declare_noise(
    federate: Federate, attempted: Callable[..., Any]
) -> None:
    federation = federate()
    assert attempted(federation, federation.grid(), planned=None)[0].failures == {}
    federation = federate()
    federation.sites["b"].changes["executed"] = NOISE
    attempt, _ = attempted(federation, federation.grid(), planned=None)

    assert {site: failure.why for site, failure in attempt.failures.items()} == {
        "b": "declares other noise than the study plans"
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_which_ring_is_the_wrong_one_does_not_depend_on_the_order(
    federate: Federate, attempted: Callable[..., Any], order: Sequence[int]
) -> None:
    federation = federate("abcd")
    for name in "ab":
        federation.sites[name].changes["scale_bits"] = 30
    attempt, _ = attempted(federation, federation.grid(order=order))

    assert set(attempt.failures) == {"c", "d"}


def test_a_release_in_another_ring_keeps_its_digest_and_its_noise(
    federate: Federate, attempted: Callable[..., Any]
) -> None:
    federation = federate()
    federation.sites["c"].changes["scale_bits"] = 30
    attempt, _ = attempted(federation, federation.grid())
    line = attempt.records(summed=False, unknown=UNKNOWN)[2]

    assert line.failure is not None
    assert line.release_digest is not None
    assert line.executed is not None
    assert line.executed.share_multiplier == 1.0


def test_each_kind_is_asked_as_its_own_query(wanted: Wanted, study: Study) -> None:
    place: dict[str, Any] = {
        "run_id": "run",
        "study_digest": study.digest,
        "session": 1,
        "roster": ("a", "b"),
        "attempt": 1,
        "offers": (),
    }
    evaluation, _ = wanted(kind="evaluation", query=EvaluationQuery, group="north").framed(**place)
    counts, _ = wanted(kind="counts", query=CountsQuery, length=2).framed(**place)

    assert isinstance(evaluation, EvaluationQuery)
    assert evaluation.group == "north"
    assert isinstance(counts, CountsQuery)
    assert counts.round == 3


def test_a_sum_is_told_in_words(wanted: Wanted) -> None:
    assert str(wanted()) == "training sum of round 3"
    assert str(wanted(kind="evaluation", query=EvaluationQuery, group="north")) == (
        "evaluation of group north"
    )
