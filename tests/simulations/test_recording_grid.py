from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run

from fedward.simulations.engines.in_process_grid import InProcessGrid
from fedward.simulations.engines.node_numbers import node_of
from fedward.simulations.recording_grid import RecordingGrid, watched


def echo_grid() -> InProcessGrid:
    """Three nodes that say what they heard; the last one fails."""
    app = ClientApp()

    @app.query()
    def echo(message: Message, context: Context) -> Message:
        if message.metadata.dst_node_id == node_of(2):
            raise LookupError("broken")
        return Message(message.content, reply_to=message)

    return InProcessGrid(app, sites=3)


class Watching:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, object]] = []

    def sent(self, node: int, message: Message) -> None:
        self.seen.append(("sent", node, text_of(message)))

    def received(self, node: int, reply: Message) -> None:
        self.seen.append(("received", node, text_of(reply)))


def text_of(message: Message) -> object:
    return message.error.reason if message.has_error() else message.content["said"]["text"]


def messages() -> list[Message]:
    return [
        Message(
            RecordDict({"said": ConfigRecord({"text": f"hello {number}"})}),
            dst_node_id=node_of(number),
            message_type="query",
        )
        for number in range(3)
    ]


SENT = [("sent", node_of(number), f"hello {number}") for number in range(3)]
RECEIVED = [
    ("received", node_of(0), "hello 0"),
    ("received", node_of(1), "hello 1"),
    ("received", node_of(2), "LookupError: broken"),
]


def test_both_ways_are_shown_when_messages_are_pushed_and_pulled() -> None:
    watcher = Watching()
    inner = echo_grid()
    app = ServerApp()
    replies: list[Message] = []

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        names = list(grid.push_messages(messages()))
        assert watcher.seen == SENT
        # A grid may hand over the replies bit by bit.
        while len(replies) < len(names):
            replies.extend(grid.pull_messages(names))

    inner.serve(watched(app, watcher))
    assert watcher.seen == SENT + RECEIVED
    assert [text_of(reply) for reply in replies] == ["hello 0", "hello 1", "LookupError: broken"]


def test_both_ways_are_shown_when_a_grid_sends_and_receives() -> None:
    watcher = Watching()
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        assert len(list(grid.send_and_receive(messages(), timeout=60))) == 3

    echo_grid().serve(watched(app, watcher))
    assert watcher.seen == SENT + RECEIVED


def test_the_rest_is_the_grids_own() -> None:
    inner = echo_grid()
    grid = RecordingGrid(inner, Watching())
    run = Run.create_empty(run_id=5)
    grid.set_run(run)

    assert isinstance(grid, Grid)
    assert grid.run is inner.run is run
    assert list(grid.get_node_ids()) == [node_of(number) for number in range(3)]


def test_an_error_of_the_app_comes_through() -> None:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        echo_grid().serve(watched(app, Watching()))
