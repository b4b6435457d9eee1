"""A Flower Grid without a SuperLink: messages wait for their nodes, replies for who pulls them.

Subclasses say only how messages are executed. The rest of the Grid contract (message ids, pushing,
pulling, send and receive) is the same for one process and for a pool of actors. A pull hands over
what is ready and no more, so that who adds up replies never holds many of them.
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
    """Passes messages to ``sites`` simulated nodes, numbered by ``node_numbers``."""

    def __init__(self, *, sites: int) -> None:
        self._sites = sites
        self._run = Run.create_empty(run_id=1)
        self._pushed = 0

    @abstractmethod
    def submit(self, messages: Sequence[Message]) -> None:
        """Take messages, which have their ids, without waiting for any reply."""

    @abstractmethod
    def ready(self, message_ids: Sequence[str]) -> Sequence[Message]:
        """Replies to some of these messages, each once; waits a moment if there is none yet.

        At least one in the end for every message: an error where its node failed. Ids that are
        unknown, or whose reply was handed over before, have none.
        """

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
        """Give each message its id and pass it on; returns the ids."""
        pushed = list(messages)
        for message in pushed:
            self._pushed += 1
            # Flower's own grids set the id here as well: Metadata has no public setter.
            message.metadata.__dict__["_message_id"] = f"m{self._pushed}"
        self.submit(pushed)
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return what is ready of the replies to these messages, each once."""
        return list(self.ready(list(message_ids)))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Push the messages and pull until every reply is there, or ``timeout`` seconds passed.

        A reply that is being made when the time is up is waited for.
        """
        started = time.monotonic()
        waiting = dict.fromkeys(self.push_messages(messages))
        replies: list[Message] = []
        while waiting and (timeout is None or time.monotonic() - started <= timeout):
            for reply in self.pull_messages(waiting):
                del waiting[reply.metadata.reply_to_message_id]
                replies.append(reply)
        return replies
