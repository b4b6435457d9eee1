"""The in-process grid: one thread, no start-up, deterministic."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from fedward.simulations.engines.direct_grid import DirectGrid
from fedward.simulations.engines.node_numbers import node_context, node_of

CLIENT_APP_RAISED = 8
"""Flower's error code for a ClientApp that raised an exception."""


class InProcessGrid(DirectGrid):
    """Runs a ClientApp for every site in turn, in the caller's thread.

    A message is executed when its reply is pulled, one at each pull: between two pulls no reply is
    held, however many sites there are.
    """

    def __init__(self, client_app: ClientApp, *, sites: int) -> None:
        super().__init__(sites=sites)
        self._client_app = client_app
        self._contexts: dict[int, Context] = {
            node_of(number): node_context(number, sites=sites) for number in range(sites)
        }
        self._waiting: dict[str, Message] = {}

    def submit(self, messages: Sequence[Message]) -> None:
        """Let the messages wait until somebody pulls."""
        self._waiting |= {message.metadata.message_id: message for message in messages}

    def ready(self, message_ids: Sequence[str]) -> list[Message]:
        """Execute the first of these messages that still waits, and return its reply."""
        for name in message_ids:
            if (message := self._waiting.pop(name, None)) is not None:
                context = self._contexts[message.metadata.dst_node_id]
                return [run_client_app(self._client_app, message, context)]
        return []


def run_client_app(client_app: ClientApp, message: Message, context: Context) -> Message:
    """Run one message; an exception becomes an error reply, as it does in Flower."""
    try:
        return client_app(message, context)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return Message(Error(code=CLIENT_APP_RAISED, reason=reason), reply_to=message)
