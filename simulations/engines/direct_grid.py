"""A Flower Grid without a SuperLink: messages are handed to an executor and replies collected.

Subclasses say only how messages are executed. The rest of the Grid contract (message ids, pushing,
pulling, send and receive) is the same for one process and for a pool of actors.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedward.simulations.engines.node_numbers import COORDINATOR_NODE, node_of


class DirectGrid(Grid):
    """Executes messages for ``sites`` simulated nodes, numbered by ``node_numbers``."""

    def __init__(self, *, sites: int) -> None:
        self._sites = sites
        self._run = Run.create_empty(run_id=1)
        self._replies: dict[str, Message] = {}
        self._pushed = 0

    @abstractmethod
    def execute(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Run each message's node and return the replies, in any order; none may be left out."""

    def serve(self, server_app: ServerApp) -> None:
        """Run a ServerApp to its end against this grid, as the process that a SuperLink starts."""
        # Flower keeps who is sending for the whole process; a SuperLink would set it.
        TaskIdentity.task_id = 1
        TaskIdentity.run_id = self._run.run_id
        TaskIdentity.node_id = COORDINATOR_NODE
        context = Context(
            run_id=self._run.run_id,
            node_id=COORDINATOR_NODE,
            node_config={},
            state=RecordDict(),
            run_config={},
        )
        server_app(self, context)

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Build a message (kept for the Grid contract; new code calls ``Message`` itself)."""
        return Message(
            content,
            dst_node_id=dst_node_id,
            message_type=message_type,
            ttl=ttl,
            group_id=group_id,
        )

    def get_node_ids(self) -> list[int]:
        """Return the ids of all simulated nodes."""
        return [node_of(number) for number in range(self._sites)]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Give each message its id and execute them all; replies wait to be pulled."""
        pushed = list(messages)
        for message in pushed:
            self._pushed += 1
            # Flower's own grids set the id here as well: Metadata has no public setter.
            message.metadata.__dict__["_message_id"] = f"m{self._pushed}"
        for reply in self.execute(pushed):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that are there, each once."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Execute the messages and return their replies.

        Execution is not cut short by ``timeout``; replies that came later than it are dropped, as
        a coordinator on a network would not have seen them.
        """
        started = time.monotonic()
        replies = self.pull_messages(self.push_messages(messages))
        late = timeout is not None and time.monotonic() - started > timeout
        return [] if late else replies
