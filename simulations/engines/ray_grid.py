"""A Grid whose nodes live in Ray actors; replies are handed over as actors finish them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flwr.app import Error, Message, RecordDict

from fedward.simulations.engines.direct_grid import DirectGrid
from fedward.simulations.engines.node_numbers import FIRST_NODE

NODE_UNAVAILABLE = 5
"""Flower's error code for a node that is not there."""
WAIT_SECONDS = 0.5
"""A pull waits so long for the first reply."""


class RayGrid(DirectGrid):
    """Site number n lives in actor n modulo their number.

    A message to a dead actor is answered by an error, and its sites are no nodes any more.
    """

    def __init__(self, actors: Sequence[Any], *, sites: int) -> None:
        super().__init__(sites=sites)
        self._actors = actors
        self._dead: set[int] = set()
        self._pending: dict[str, tuple[Any, Message]] = {}

    def get_node_ids(self) -> list[int]:
        """Return the ids of all nodes whose actor is not known to be dead."""
        return [node for node in super().get_node_ids() if self._actor_of(node) not in self._dead]

    def submit(self, messages: Sequence[Message]) -> None:
        """Give every message to its site's actor at once; actors work in the order of messages."""
        import ray

        # Messages of one question share their content, which Ray then stores once.
        contents = {id(message.content): message.content for message in messages}
        stored = {key: ray.put(content) for key, content in contents.items()}
        for message in messages:
            bare = _without_content(message)
            actor = self._actors[self._actor_of(message.metadata.dst_node_id)]
            reply = actor.execute.remote(bare, stored[id(message.content)])
            self._pending[message.metadata.message_id] = (reply, bare)

    def ready(self, message_ids: Sequence[str]) -> list[Message]:
        """Return the first reply that an actor finishes, or none after :data:`WAIT_SECONDS`."""
        import ray

        name_of = {self._pending[name][0]: name for name in message_ids if name in self._pending}
        if not name_of:
            return []
        finished, _ = ray.wait(list(name_of), num_returns=1, timeout=WAIT_SECONDS)
        return [self._reply(name_of[one]) for one in finished]

    def _reply(self, name: str) -> Message:
        import ray

        finished, message = self._pending.pop(name)
        try:
            reply: Message = ray.get(finished)
        except ray.exceptions.RayError as error:
            if isinstance(error, ray.exceptions.ActorDiedError):
                self._dead.add(self._actor_of(message.metadata.dst_node_id))
            reason = f"{type(error).__name__}: the site's process is gone"
            return Message(Error(code=NODE_UNAVAILABLE, reason=reason), reply_to=message)
        return reply

    def _actor_of(self, node: int) -> int:
        return (node - FIRST_NODE) % len(self._actors)


def _without_content(message: Message) -> Message:
    bare = Message(
        RecordDict(),
        dst_node_id=message.metadata.dst_node_id,
        message_type=message.metadata.message_type,
        ttl=message.metadata.ttl,
        group_id=message.metadata.group_id,
    )
    bare.metadata.__dict__["_message_id"] = message.metadata.message_id
    return bare
