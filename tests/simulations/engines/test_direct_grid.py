from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedward.simulations.engines.direct_grid import DirectGrid
from fedward.simulations.engines.node_numbers import COORDINATOR_NODE, node_of


class EchoGrid(DirectGrid):
    """Nodes that echo what they were sent, the last one first, ``at_once`` of them a pull."""

    def __init__(self, *, sites: int, seconds: float = 0.0, at_once: int = 100) -> None:
        super().__init__(sites=sites)
        TaskIdentity.task_id = TaskIdentity.run_id = 1
        TaskIdentity.node_id = COORDINATOR_NODE
        self.seconds = seconds
        self.at_once = at_once
        self.waiting: dict[str, Message] = {}
        self.executed: list[str] = []

    def submit(self, messages: Sequence[Message]) -> None:
        self.waiting |= {message.metadata.message_id: message for message in messages}

    def ready(self, message_ids: Sequence[str]) -> list[Message]:
        names = [name for name in reversed(message_ids) if name in self.waiting][: self.at_once]
        time.sleep(self.seconds)
        self.executed += names
        replies = []
        for name in names:
            message = self.waiting.pop(name)
            replies.append(Message(message.content, reply_to=message))
        return replies


def message_to(number: int, text: str) -> Message:
    content = RecordDict({"said": ConfigRecord({"text": text})})
    return Message(content, dst_node_id=node_of(number), message_type="query")


def text_of(message: Message) -> object:
    return message.content.config_records["said"]["text"]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_every_reply_belongs_to_its_message(at_once: int) -> None:
    grid = EchoGrid(sites=3, at_once=at_once)
    messages = [message_to(number, f"hello {number}") for number in range(3)]
    replies = grid.send_and_receive(messages)

    assert [text_of(reply) for reply in replies] == ["hello 2", "hello 1", "hello 0"]
    assert [reply.metadata.reply_to_message_id for reply in replies] == [
        message.metadata.message_id for message in reversed(messages)
    ]
    assert [reply.metadata.src_node_id for reply in replies] == [node_of(n) for n in (2, 1, 0)]


def test_message_ids_are_never_used_twice() -> None:
    grid = EchoGrid(sites=2)
    for _ in range(3):
        grid.send_and_receive([message_to(number, "hello") for number in range(2)])

    assert len(set(grid.executed)) == len(grid.executed) == 6


def test_pushed_messages_are_pulled_once() -> None:
    grid = EchoGrid(sites=2)
    ids = list(grid.push_messages([message_to(0, "a"), message_to(1, "b")]))
    assert grid.executed == []

    assert [text_of(reply) for reply in grid.pull_messages(ids[:1])] == ["a"]
    assert [text_of(reply) for reply in grid.pull_messages(ids)] == ["b"]
    assert grid.pull_messages([*ids, "unknown"]) == []


def test_messages_of_several_pushes_wait_together() -> None:
    grid = EchoGrid(sites=2)
    ids = [*grid.push_messages([message_to(0, "a")]), *grid.push_messages([message_to(1, "b")])]

    assert [text_of(reply) for reply in grid.pull_messages(ids)] == ["b", "a"]


def test_replies_after_the_timeout_are_not_waited_for() -> None:
    grid = EchoGrid(sites=2, seconds=0.02, at_once=1)
    messages = [message_to(0, "a"), message_to(1, "b")]

    # The one that was being made when the time was up is there.
    assert [text_of(reply) for reply in grid.send_and_receive(messages, timeout=0.001)] == ["b"]
    assert len(grid.send_and_receive([message_to(0, "c")], timeout=60)) == 1


def test_it_names_its_nodes() -> None:
    assert list(EchoGrid(sites=3).get_node_ids()) == [node_of(0), node_of(1), node_of(2)]
    assert COORDINATOR_NODE not in EchoGrid(sites=100).get_node_ids()


def test_it_is_one_of_flowers_grids() -> None:
    grid = EchoGrid(sites=1)
    run = Run.create_empty(run_id=5)
    grid.set_run(run)
    content = RecordDict({"said": ConfigRecord({"text": "hello"})})
    message = grid.create_message(content, "query", node_of(0), "1")

    assert isinstance(grid, Grid)
    assert grid.run is run
    assert message.metadata.group_id == "1"
    assert [text_of(reply) for reply in grid.send_and_receive([message])] == ["hello"]


def test_it_serves_a_server_app_and_lets_its_error_through() -> None:
    grids: list[Grid] = []
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        grids.append(grid)
        raise LookupError("no such thing")

    grid = EchoGrid(sites=1)
    with pytest.raises(LookupError, match="no such thing"):
        grid.serve(app)
    assert grids == [grid]
