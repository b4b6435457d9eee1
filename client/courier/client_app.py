"""The courier: a Flower ClientApp that carries frames between coordinator and vault.

It holds no data and no key, and decides nothing: a malicious copy of it gains the right to ask
the closed list of queries, within the budget, which is what the coordinator has anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedward.common.protocol.envelope import ACTION, FIELD, RECORD

AnswerFrame = Callable[[bytes], bytes]
"""The vault's one interface: a framed query in, a framed answer out."""


def make_client_app(vault_of: Callable[[Context], AnswerFrame]) -> ClientApp:
    """Build the ClientApp; ``vault_of`` gives the way to this node's vault."""
    app = ClientApp()

    @app.query(ACTION)
    def answer(message: Message, context: Context) -> Message:
        frame = message.content.config_records[RECORD][FIELD]
        if not isinstance(frame, bytes):
            raise TypeError("the message holds no frame")
        content = RecordDict({RECORD: ConfigRecord({FIELD: vault_of(context)(frame)})})
        return Message(content, reply_to=message)

    return app
