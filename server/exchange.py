"""One question to many nodes over a Flower Grid; each reply is handed on as it arrives.

Nothing is kept: a caller that adds up and forgets what it is handed needs the memory of one reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedward.common.protocol.envelope import FIELD, MESSAGE_TYPE, RECORD

LONGEST_PAUSE = 0.5
"""Seconds between two looks for replies at most, unless ``poll_seconds`` is longer."""
PULLED_BYTES = 32 * 2**20
"""Of replies that a network grid may hand over at once."""
_PULLED_REPLIES = 256


@dataclass(frozen=True)
class NoAnswer:
    """What came instead of an answer, in words: an error, or nothing in time."""

    why: str


OnReply = Callable[[int, bytes | NoAnswer], None]
"""Is called once for every node that was asked, in the order in which replies arrive."""


class Exchange:
    """Asks nodes and hands on their replies.

    ``timeout`` is in seconds for one question; None waits for ever. While no reply comes, pauses
    grow from ``poll_seconds`` to :data:`LONGEST_PAUSE`; there is none while replies are ready.
    """

    def __init__(self, grid: Grid, *, timeout: float | None, poll_seconds: float) -> None:
        self._grid = grid
        self._timeout = timeout
        self._poll_seconds = poll_seconds

    def node_ids(self) -> list[int]:
        """Nodes that are connected, sorted."""
        return sorted(self._grid.get_node_ids())

    def wait_for_nodes(self, count: int) -> list[int]:
        """Wait until so many nodes are connected, or the timeout; return those that are."""
        deadline = self._deadline()
        while len(nodes := self.node_ids()) < count and not _passed(deadline):
            time.sleep(self._poll_seconds)
        return nodes

    def ask(
        self, frame: bytes, nodes: Iterable[int], on_reply: OnReply, *, most_bytes: int
    ) -> None:
        """Send ``frame`` to each node and hand on what comes back.

        ``most_bytes`` is the size of the longest answer that can be one. A network grid hands over
        all replies that are ready, so large ones are asked for a few at a time.
        """
        deadline = self._deadline()
        # One record for all: a network grid sends its bytes to the SuperLink once.
        record = ConfigRecord({FIELD: frame})
        outstanding = self._pushed(RecordDict({RECORD: record}), nodes, on_reply)
        block = max(1, min(_PULLED_REPLIES, PULLED_BYTES // most_bytes))
        pause = self._poll_seconds
        while outstanding and not _passed(deadline):
            before = len(outstanding)
            waiting = iter(list(outstanding))
            while (names := list(islice(waiting, block))) and not _passed(deadline):
                self._pull(names, outstanding, on_reply, most_bytes)
            if len(outstanding) < before:
                pause = self._poll_seconds
            elif not _passed(deadline):
                time.sleep(pause)
                pause = max(self._poll_seconds, min(2 * pause, LONGEST_PAUSE))
        if not outstanding:
            _let_go(record)
        for node in outstanding.values():
            on_reply(node, NoAnswer("no reply in time"))

    def _pushed(
        self, content: RecordDict, nodes: Iterable[int], on_reply: OnReply
    ) -> dict[str, int]:
        """Send; the nodes that were reached, by message."""
        messages = [Message(content, dst_node_id=node, message_type=MESSAGE_TYPE) for node in nodes]
        # A message that cannot be stored has no id here; some grids leave its place out.
        stored = set(self._grid.push_messages(messages))
        sent: dict[str, int] = {}
        for message in messages:
            node, name = message.metadata.dst_node_id, message.metadata.message_id
            if name in stored:
                sent[name] = node
            else:
                on_reply(node, NoAnswer("the message could not be sent"))
        return sent

    def _pull(
        self, names: list[str], outstanding: dict[str, int], on_reply: OnReply, most_bytes: int
    ) -> None:
        replies = list(self._grid.pull_messages(names))
        while replies:
            reply = replies.pop(0)
            # An error reply may come from the SuperLink's own id, so they are matched by message.
            node = outstanding.pop(reply.metadata.reply_to_message_id, None)
            if node is not None:
                on_reply(node, _content_of(reply, most_bytes))

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout


def _content_of(reply: Message, most_bytes: int) -> bytes | NoAnswer:
    if reply.has_error():
        return NoAnswer(str(reply.error.reason))
    record = reply.content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        return NoAnswer("its reply holds no frame")
    content = record.get(FIELD)
    _let_go(record)
    if not isinstance(content, bytes):
        return NoAnswer("its reply holds no frame")
    if len(content) > most_bytes:
        return NoAnswer(f"its reply of {len(content)} bytes is too long")
    return content


def _let_go(record: ConfigRecord) -> None:
    """Flower's record holder refers to itself, so what is in it would stay for a while."""
    record.clear()


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline
