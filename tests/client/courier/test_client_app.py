from __future__ import annotations

import subprocess
import sys

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedward.client.courier.client_app import AnswerFrame, make_client_app
from fedward.common.protocol.envelope import FIELD, MESSAGE_TYPE, RECORD
from fedward.simulations.engines.node_numbers import COORDINATOR_NODE, node_context, node_of


@pytest.fixture(autouse=True)
def _sender() -> None:
    # Flower keeps for the whole process who is sending; a SuperLink would set it.
    TaskIdentity.task_id = TaskIdentity.run_id = 1
    TaskIdentity.node_id = COORDINATOR_NODE


def message_of(content: RecordDict, *, message_type: str = MESSAGE_TYPE) -> Message:
    return Message(content, dst_node_id=node_of(0), message_type=message_type)


def framed(frame: object) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({FIELD: frame})})


def test_it_carries_a_frame_to_the_vault_and_the_answer_back() -> None:
    seen: list[bytes] = []

    def vault(frame: bytes) -> bytes:
        seen.append(frame)
        return b"the answer \x00\xff"

    app = make_client_app(lambda _context: vault)
    message = message_of(framed(b"the query \x00\xff"))
    reply = app(message, node_context(0, sites=2))

    assert seen == [b"the query \x00\xff"]
    assert not reply.has_error()
    assert reply.content == framed(b"the answer \x00\xff")
    assert reply.metadata.dst_node_id == COORDINATOR_NODE


def test_it_asks_the_vault_of_its_own_node() -> None:
    def vault_of(context: Context) -> AnswerFrame:
        return lambda _frame: str(context.node_config["partition-id"]).encode()

    reply = make_client_app(vault_of)(message_of(framed(b"query")), node_context(3, sites=5))

    assert reply.content.config_records[RECORD][FIELD] == b"3"


@pytest.mark.parametrize("frame", ["text", 1, 1.5, [1, 2]])
def test_what_is_no_frame_never_reaches_the_vault(frame: object) -> None:
    def vault(_frame: bytes) -> bytes:
        raise AssertionError("the vault was asked")

    with pytest.raises(TypeError, match="no frame"):
        make_client_app(lambda _context: vault)(message_of(framed(frame)), node_context(0, sites=2))


@pytest.mark.parametrize("content", [RecordDict(), RecordDict({RECORD: ConfigRecord()})])
def test_a_message_without_a_frame_is_an_error(content: RecordDict) -> None:
    with pytest.raises(KeyError):
        make_client_app(lambda _context: bytes)(message_of(content), node_context(0, sites=2))


@pytest.mark.parametrize("message_type", ["query", "query.other", "train", "evaluate", "train.x"])
def test_there_is_no_other_way_in(message_type: str) -> None:
    app = make_client_app(lambda _context: bytes)

    with pytest.raises(ValueError, match=r".*"):
        app(message_of(framed(b"query"), message_type=message_type), node_context(0, sites=2))


def test_importing_it_does_not_load_the_vault() -> None:
    script = (
        "import sys, fedward.client.courier.client_app\n"
        "print([m for m in sys.modules if m.startswith('fedward.client.vault')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
