from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedward.common.protocol.envelope import FIELD, RECORD
from fedward.common.protocol.queries import (
    GradientSumQuery,
    decode_query,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    ExecutedNoise,
    Identified,
    Refusal,
    RefusalReason,
    SumRelease,
    encode_answer,
)
from fedward.server.sum_rounds import CoordinationError, SumRounds, identify_sites
from fedward.simulations.engines.direct_grid import DirectGrid
from fedward.simulations.engines.node_numbers import node_of

MakeGrid = Callable[..., Any]
Node = Callable[[bytes], object]

SITES = ("a", "b", "c")
DIGEST = "0123456789abcdef" * 4
NOISE = ExecutedNoise(noise_multiplier=2.0, share_multiplier=1.0, sampling_rate=1.0, count=1)
QUERY = GradientSumQuery(run_id="run", study_digest=DIGEST, roster=SITES, round=3, attempt=1)
MODEL = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}
UNIT = 2.0**-24


def releasing(site: str, total: Sequence[int] = (1, 2, 3, 4), **changes: Any) -> Node:
    """A node that answers any query for a sum, truly or with some fields changed."""

    def answer(frame: bytes) -> bytes:
        query, _ = decode_query(frame)
        assert isinstance(query, GradientSumQuery)
        fields: dict[str, Any] = {
            "site": site,
            "run_id": query.run_id,
            "study_digest": query.study_digest,
            "query_digest": frame_digest(frame),
            "round": query.round,
            "attempt": query.attempt,
            "executed": NOISE,
            "masked": False,
            "scale_bits": 24,
        }
        elements = np.array([value % 2**64 for value in total], dtype=np.uint64)
        return encode_answer(SumRelease(**(fields | changes)), elements)

    return answer


def rounds_of(grid: DirectGrid, sites: Sequence[str] = SITES) -> SumRounds:
    nodes = {site: node_of(number) for number, site in enumerate(sites)}
    return SumRounds(grid, nodes=nodes, timeout=None)


def three(*, b: Node) -> list[Node]:
    """Three nodes, of which the second says something special."""
    return [releasing("a"), b, releasing("c")]


def test_releases_are_added_in_the_ring(make_grid: MakeGrid) -> None:
    nodes = [
        releasing("a", (1, -1, 2**63, 5)),
        releasing("b", (2, -2, 2**63, -5)),
        releasing("c", (4, -4, 7, 0)),
    ]
    summed = rounds_of(make_grid(nodes)).ask(QUERY, MODEL)

    # The third coordinate wraps around 2^64 on the way and comes out right.
    assert summed.total.tolist() == [7 * UNIT, -7 * UNIT, 7 * UNIT, 0.0]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_of_replies_changes_nothing(make_grid: MakeGrid, order: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    totals = generator.integers(-(2**62), 2**62, (3, 4)).tolist()
    nodes = [releasing(site, total) for site, total in zip(SITES, totals, strict=True)]

    plain = rounds_of(make_grid(nodes)).ask(QUERY, MODEL)
    shuffled = rounds_of(make_grid(nodes, order=order)).ask(QUERY, MODEL)

    assert shuffled.total.tobytes() == plain.total.tobytes()
    assert shuffled.records == plain.records


def test_every_release_has_its_line_of_the_log(make_grid: MakeGrid) -> None:
    grid = make_grid([releasing(site) for site in SITES])
    summed = rounds_of(grid).ask(QUERY, MODEL)
    frame = encode_query(QUERY, MODEL)

    assert [record.site for record in summed.records] == list(SITES)
    for record, node in zip(summed.records, grid.nodes.values(), strict=True):
        assert record.kind == "gradient_sum"
        assert (record.round, record.attempt) == (3, 1)
        assert record.query_digest == frame_digest(frame)
        assert record.release_digest == frame_digest(node(frame))
        assert record.executed == NOISE


def test_all_sites_are_asked_the_same_bytes(make_grid: MakeGrid) -> None:
    grid = make_grid([releasing(site) for site in SITES])
    rounds_of(grid).ask(QUERY, MODEL)

    assert grid.frames == [encode_query(QUERY, MODEL)] * 3


def refusing(site: str) -> Node:
    return lambda frame: encode_answer(
        Refusal(
            site=site,
            query_digest=frame_digest(frame),
            reason=RefusalReason.BUDGET_EXCEEDED,
            message="It would spend too much.",
        )
    )


WRONG: dict[str, tuple[Node, str]] = {
    "silence": (lambda _: None, "b did not answer round 3: no reply in time"),
    "a crash": (lambda _: RuntimeError("out of memory"), "b did not answer.*out of memory"),
    "a refusal": (refusing("b"), r"b refused \(budget_exceeded\): It would spend too much"),
    "a refusal in another's name": (refusing("c"), "b refused"),
    "its name alone": (
        lambda _: encode_answer(Identified(site="b", run_id="run", study_digest=DIGEST)),
        "b answered with identified",
    ),
    "another site's release": (releasing("c"), "b answered another query"),
    "another round": (releasing("b", round=2), "b answered another query"),
    "another attempt": (releasing("b", attempt=2), "b answered another query"),
    "another run": (releasing("b", run_id="other"), "b answered another query"),
    "another study": (releasing("b", study_digest="f" * 64), "b answered another query"),
    "another query": (releasing("b", query_digest="f" * 64), "b answered another query"),
    "another unit": (releasing("b", scale_bits=23), "b answered in another ring"),
    "too long a sum": (releasing("b", (1, 2, 3, 4, 5)), "b answered in another ring"),
    "too short a sum": (releasing("b", (1,)), "b answered in another ring"),
    "garbage": (lambda _: b"garbage", "b sent a malformed answer"),
    "the query itself": (lambda frame: frame, "b sent a malformed answer"),
    "text": (lambda _: "text", "b did not answer.*holds no frame"),
    "no frame": (
        lambda _: RecordDict({RECORD: ConfigRecord()}),
        "b did not answer.*holds no frame",
    ),
    "no record": (lambda _: RecordDict(), "b did not answer.*holds no frame"),
    "another record": (
        lambda _: RecordDict({"other": ConfigRecord({FIELD: b""})}),
        "b did not answer.*holds no frame",
    ),
}


@pytest.mark.parametrize(("node", "message"), WRONG.values(), ids=WRONG)
def test_a_site_that_does_not_answer_the_query_stops_the_round(
    make_grid: MakeGrid, node: Node, message: str
) -> None:
    with pytest.raises(CoordinationError, match=message):
        rounds_of(make_grid(three(b=node))).ask(QUERY, MODEL)


def test_a_reply_after_the_timeout_is_no_reply(make_grid: MakeGrid) -> None:
    def slow(frame: bytes) -> object:
        time.sleep(0.05)
        return releasing("b")(frame)

    grid = make_grid(three(b=slow))
    rounds = SumRounds(
        grid, nodes={site: node_of(n) for n, site in enumerate(SITES)}, timeout=0.001
    )
    with pytest.raises(CoordinationError, match="no reply in time"):
        rounds.ask(QUERY, MODEL)


def test_an_empty_roster_sums_nothing(make_grid: MakeGrid) -> None:
    with pytest.raises(CoordinationError, match="roster is empty"):
        rounds_of(make_grid([]), []).ask(QUERY, MODEL)


def test_the_roster_is_sorted_whatever_the_nodes_numbers(make_grid: MakeGrid) -> None:
    nodes = [releasing("c"), releasing("a"), releasing("b")]
    rounds = rounds_of(make_grid(nodes), ["c", "a", "b"])

    assert rounds.roster == SITES
    assert [record.site for record in rounds.ask(QUERY, MODEL).records] == list(SITES)


def identifying(site: str, **changes: Any) -> Node:
    fields = {"site": site, "run_id": "run", "study_digest": DIGEST} | changes
    return lambda _: encode_answer(Identified(**fields))


def identified(grid: DirectGrid, *, sites: int = 3, timeout: float | None = 0.05) -> Any:
    return identify_sites(
        grid,
        run_id="run",
        study_digest=DIGEST,
        expected_sites=sites,
        timeout=timeout,
        poll_seconds=0.001,
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_nodes_are_told_apart_by_what_they_say(make_grid: MakeGrid, order: tuple[int, ...]) -> None:
    nodes = [identifying(site) for site in ("b", "c", "a")]

    assert identified(make_grid(nodes, order=order)) == {
        "b": node_of(0),
        "c": node_of(1),
        "a": node_of(2),
    }


UNIDENTIFIED: dict[str, tuple[Node, str]] = {
    "silence": (lambda _: None, "2 of 3 sites answered"),
    "a crash": (lambda _: RuntimeError("no vault here"), "2 of 3 .*no vault here"),
    "no frame": (lambda _: RecordDict(), "2 of 3 sites answered"),
    "a refusal": (refusing("b"), r"b refused \(budget_exceeded\): It would"),
    "a name twice": (identifying("a"), "two nodes call themselves a"),
    "another study": (identifying("b", study_digest="f" * 64), "did not identify itself"),
    "another run": (identifying("b", run_id="other"), "did not identify itself"),
    "a sum": (
        lambda _: encode_answer(
            SumRelease(
                site="b",
                run_id="run",
                study_digest=DIGEST,
                query_digest=DIGEST,
                round=1,
                attempt=1,
                executed=None,
                masked=False,
                scale_bits=24,
            ),
            np.zeros(1, dtype=np.uint64),
        ),
        "did not identify itself",
    ),
    "garbage": (lambda _: b"garbage", "malformed answer"),
}


@pytest.mark.parametrize(("node", "message"), UNIDENTIFIED.values(), ids=UNIDENTIFIED)
def test_a_run_does_not_begin_without_knowing_every_site(
    make_grid: MakeGrid, node: Node, message: str
) -> None:
    with pytest.raises(CoordinationError, match=message):
        identified(make_grid([identifying("a"), node, identifying("c")]))


def test_it_waits_for_late_nodes(make_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid([identifying(site) for site in SITES])
    seen: list[int] = []

    def arriving() -> list[int]:
        seen.append(min(3, len(seen) // 2))
        return [node_of(number) for number in range(seen[-1])]

    monkeypatch.setattr(grid, "get_node_ids", arriving)

    assert set(identified(grid, timeout=None)) == set(SITES)
    assert seen[-1] == 3
    assert len(grid.frames) == 3


def test_it_gives_up_when_too_few_nodes_come(make_grid: MakeGrid) -> None:
    grid = make_grid([identifying("a"), identifying("b")])

    with pytest.raises(CoordinationError, match="2 of 3 sites are connected; start the others"):
        identified(grid)
    assert grid.frames == []


def test_more_nodes_than_expected_all_take_part(make_grid: MakeGrid) -> None:
    grid = make_grid([identifying(site) for site in SITES])

    assert set(identified(grid, sites=2)) == set(SITES)
