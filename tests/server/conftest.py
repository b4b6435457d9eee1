"""Grids whose nodes say whatever a test wants them to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedward.common.protocol.envelope import FIELD, RECORD
from fedward.simulations.engines.direct_grid import DirectGrid
from fedward.simulations.engines.node_numbers import COORDINATOR_NODE, node_of

Node = Callable[[bytes], object]
"""What a node says to a frame: bytes, a whole RecordDict, an exception, or None for silence."""
MakeGrid = Callable[..., DirectGrid]


class ScriptedGrid(DirectGrid):
    def __init__(self, nodes: Sequence[Node], *, order: Sequence[int] | None) -> None:
        super().__init__(sites=len(nodes))
        TaskIdentity.task_id = TaskIdentity.run_id = 1
        TaskIdentity.node_id = COORDINATOR_NODE
        self.nodes = {node_of(number): node for number, node in enumerate(nodes)}
        self.order = order
        self.frames: list[bytes] = []

    def execute(self, messages: Sequence[Message]) -> Iterable[Message]:
        for message in messages:
            frame = message.content.config_records[RECORD][FIELD]
            assert isinstance(frame, bytes)
            self.frames.append(frame)
            said = self.nodes[message.metadata.dst_node_id](frame)
            if isinstance(said, Exception):
                yield Message(Error(code=8, reason=str(said)), reply_to=message)
            elif isinstance(said, RecordDict):
                yield Message(said, reply_to=message)
            elif said is not None:
                yield Message(RecordDict({RECORD: ConfigRecord({FIELD: said})}), reply_to=message)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        replies = super().send_and_receive(messages, timeout=timeout)
        return replies if self.order is None else [replies[position] for position in self.order]


@pytest.fixture
def make_grid() -> MakeGrid:
    def make(nodes: Sequence[Node], *, order: Sequence[int] | None = None) -> ScriptedGrid:
        return ScriptedGrid(nodes, order=order)

    return make
