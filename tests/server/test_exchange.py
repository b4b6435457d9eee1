from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedward.common.protocol.envelope import FIELD, RECORD
from fedward.server import exchange as exchange_module
from fedward.server.exchange import Exchange, NoAnswer
from fedward.simulations.engines.node_numbers import node_of

MakeGrid = Callable[..., Any]
NODES = [node_of(number) for number in range(3)]


def asked(
    grid: Any, *, timeout: float | None = 60.0, most_bytes: int = 10
) -> list[tuple[int, bytes | NoAnswer]]:
    heard: list[tuple[int, bytes | NoAnswer]] = []
    Exchange(grid, timeout=timeout, poll_seconds=0.001).ask(
        b"question", NODES, lambda node, reply: heard.append((node, reply)), most_bytes=most_bytes
    )
    return heard


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_every_reply_is_handed_on_as_it_arrives(
    make_grid: MakeGrid, order: tuple[int, ...], at_once: bool
) -> None:
    grid = make_grid([lambda _: b"a", lambda _: b"b", lambda _: b"c"], order=order, at_once=at_once)

    assert asked(grid) == [(node_of(number), b"abc"[number : number + 1]) for number in order]
    assert grid.frames == [b"question"] * 3


NO_ANSWERS: dict[str, tuple[object, str]] = {
    "more than an answer can be": (b"eleven byte", "its reply of 11 bytes is too long"),
    "a crash": (RuntimeError("out of memory"), "out of memory"),
    "text": ("text", "its reply holds no frame"),
    "no frame": (RecordDict({RECORD: ConfigRecord()}), "its reply holds no frame"),
    "no record": (RecordDict(), "its reply holds no frame"),
    "another record": (RecordDict({"other": ConfigRecord({FIELD: b""})}), "holds no frame"),
    "silence": (None, "no reply in time"),
}


@pytest.mark.parametrize(("said", "why"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_told_in_words(
    make_grid: MakeGrid, impatient: Callable[[Any], Any], said: object, why: str
) -> None:
    heard = asked(impatient(make_grid([lambda _: b"a", lambda _: said, lambda _: b"c"])))

    assert {node: reply for node, reply in heard if node != NODES[1]} == {
        NODES[0]: b"a",
        NODES[2]: b"c",
    }
    (no_answer,) = [reply for node, reply in heard if node == NODES[1]]
    assert isinstance(no_answer, NoAnswer)
    assert why in no_answer.why


def test_replies_after_the_timeout_are_not_waited_for(make_grid: MakeGrid) -> None:
    def slow(_: bytes) -> bytes:
        time.sleep(0.05)
        return b"late"

    heard = dict(asked(make_grid([slow, slow, slow]), timeout=0.01))

    # The one that was on its way when the time was up is taken.
    assert heard == {
        NODES[0]: b"late",
        NODES[1]: NoAnswer("no reply in time"),
        NODES[2]: NoAnswer("no reply in time"),
    }


class LossyGrid:
    """A network grid: takes some messages, and has no reply before the third look."""

    def __init__(self, taken: Callable[[list[Message]], list[Any]]) -> None:
        self.taken = taken
        self.messages: list[Message] = []
        self.looks: list[list[str]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[Any]:
        self.messages = list(messages)
        for number, message in enumerate(self.messages):
            message.metadata.__dict__["_message_id"] = f"id-{number}"
        return self.taken(self.messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        self.looks.append(list(message_ids))
        if len(self.looks) < 3:
            return []
        return [
            answer_to(message)
            for message in self.messages
            if message.metadata.message_id in self.looks[-1]
        ]


def answer_to(message: Message) -> Message:
    return Message(RecordDict({RECORD: ConfigRecord({FIELD: b"answer"})}), reply_to=message)


UNSENT: dict[str, Callable[[list[Message]], list[Any]]] = {
    "its place is empty": lambda messages: ["id-0", "", "id-2"],
    "its place holds None": lambda messages: ["id-0", None, "id-2"],
    "its place is left out": lambda messages: ["id-0", "id-2"],
}


@pytest.mark.parametrize("taken", UNSENT.values(), ids=UNSENT)
def test_a_message_that_could_not_be_sent_is_no_answer(
    make_grid: MakeGrid, taken: Callable[[list[Message]], list[Any]]
) -> None:
    make_grid([])  # says for Flower who is sending
    grid = LossyGrid(taken)

    assert sorted(asked(grid), key=lambda heard: heard[0]) == [
        (NODES[0], b"answer"),
        (NODES[1], NoAnswer("the message could not be sent")),
        (NODES[2], b"answer"),
    ]
    assert grid.looks == [["id-0", "id-2"]] * 3


def test_nothing_could_be_sent(make_grid: MakeGrid) -> None:
    make_grid([])
    heard = asked(LossyGrid(lambda _: []))

    assert heard == [(node, NoAnswer("the message could not be sent")) for node in NODES]


def test_pauses_grow_while_no_reply_comes_and_there_are_none_otherwise(
    make_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    asked(make_grid([lambda _: b"a"] * 3))
    assert pauses == []

    asked(LossyGrid(lambda messages: [message.metadata.message_id for message in messages]))
    assert pauses == [0.001, 0.002]


def test_pauses_are_bounded(make_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    make_grid([])
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    grid = LossyGrid(lambda messages: ["id-0"])
    monkeypatch.setattr(
        grid,
        "pull_messages",
        lambda names: [] if len(pauses) < 30 else [answer_to(grid.messages[0])],
    )
    asked(grid)

    assert max(pauses) == exchange_module.LONGEST_PAUSE
    assert pauses == sorted(pauses)


def test_large_replies_are_asked_for_a_few_at_a_time(make_grid: MakeGrid) -> None:
    make_grid([])
    grid = LossyGrid(lambda messages: [message.metadata.message_id for message in messages])
    heard = asked(grid, most_bytes=exchange_module.PULLED_BYTES // 2)

    assert len(heard) == 3
    assert {len(look) for look in grid.looks} == {1, 2}


def test_a_reply_to_another_message_is_left_alone(make_grid: MakeGrid) -> None:
    make_grid([])
    grid = LossyGrid(lambda messages: [message.metadata.message_id for message in messages])
    stray = Message(RecordDict(), dst_node_id=NODES[0], message_type="query")
    stray.metadata.__dict__["_message_id"] = "id-99"
    pull = grid.pull_messages
    grid.pull_messages = lambda names: [  # type: ignore[method-assign]
        Message(RecordDict(), reply_to=stray),
        *pull(names),
    ]

    assert sorted(asked(grid), key=lambda heard: heard[0]) == [(node, b"answer") for node in NODES]


def test_it_waits_for_late_nodes(make_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid([lambda _: b""] * 3)
    seen: list[int] = []

    def arriving() -> list[int]:
        seen.append(min(3, len(seen) // 2))
        return [node_of(number) for number in range(seen[-1])]

    monkeypatch.setattr(grid, "get_node_ids", arriving)

    assert Exchange(grid, timeout=None, poll_seconds=0.001).wait_for_nodes(3) == NODES
    assert seen == [0, 0, 1, 1, 2, 2, 3]


def test_it_does_not_wait_for_nodes_beyond_the_timeout(make_grid: MakeGrid) -> None:
    exchange = Exchange(make_grid([lambda _: b""] * 2), timeout=0.01, poll_seconds=0.001)

    assert exchange.wait_for_nodes(3) == NODES[:2]


def test_neither_question_nor_answers_are_kept(make_grid: MakeGrid) -> None:
    """Flower's messages refer to themselves; what they hold would wait for the collector."""
    sent: list[Message] = []
    grid = make_grid([lambda _: b"answer"] * 3)
    submit = grid.submit
    grid.submit = lambda messages: (sent.extend(messages), submit(messages))
    asked(grid)

    assert [dict(message.content[RECORD]) for message in sent] == [{}] * 3
