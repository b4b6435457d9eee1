"""A Flower Grid that shows every message of another to a watcher, on either way.

It stands at the coordinator's side, so it sees what a coordinator sees under any engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run


class Watcher(Protocol):
    """Is shown every message; must not change any."""

    def sent(self, node: int, message: Message) -> None:
        """A message on its way to a node."""
        ...

    def received(self, node: int, reply: Message) -> None:
        """A node's reply, which may be an error."""
        ...


class RecordingGrid(Grid):
    """Passes everything on to ``grid``."""

    def __init__(self, grid: Grid, watcher: Watcher) -> None:
        self._grid = grid
        self._watcher = watcher
        self._node_of: dict[str, int] = {}

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Build a message."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Show and send."""
        pushed = list(messages)
        self._show(pushed)
        names = list(self._grid.push_messages(pushed))
        self._remember(pushed)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive and show."""
        return self._shown(self._grid.pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Show, send, receive and show."""
        pushed = list(messages)
        self._show(pushed)
        replies = list(self._grid.send_and_receive(pushed, timeout=timeout))
        self._remember(pushed)
        return self._shown(replies)

    def _show(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._watcher.sent(message.metadata.dst_node_id, message)

    def _remember(self, messages: Iterable[Message]) -> None:
        # A message gets its id when it is sent.
        for message in messages:
            self._node_of[message.metadata.message_id] = message.metadata.dst_node_id

    def _shown(self, replies: Iterable[Message]) -> list[Message]:
        shown = list(replies)
        for reply in shown:
            # An error reply may come from the SuperLink, so the node is that of the question.
            node = self._node_of.pop(reply.metadata.reply_to_message_id, None)
            self._watcher.received(reply.metadata.src_node_id if node is None else node, reply)
        return shown


def watched(server_app: ServerApp, watcher: Watcher) -> ServerApp:
    """The same app, with all that crosses its grid shown to ``watcher``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        server_app(RecordingGrid(grid, watcher), context)

    return app
