"""Rounds: one query to every site of the roster over a Flower Grid, one sum back.

The coordinator adds ring vectors as they are; addition modulo 2^64 is exact and commutative, so
the sum does not depend on the order in which replies arrive.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fedward.common.errors import FedwardError
from fedward.common.protocol.envelope import FIELD, MESSAGE_TYPE, RECORD
from fedward.common.protocol.frame import FrameError
from fedward.common.protocol.queries import (
    AnySumQuery,
    IdentifyQuery,
    SumQuery,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    ExecutedNoise,
    Identified,
    Refusal,
    SumRelease,
    decode_answer,
)
from fedward.common.secure_sum.ring import decode_units


class CoordinationError(FedwardError):
    """A run that cannot go on: who did not answer, or refused, and why."""


class ReleaseRecord(BaseModel):
    """One line of the coordinator's log: a release that it received."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    kind: str
    round: int
    attempt: int
    query_digest: str
    release_digest: str
    executed: ExecutedNoise | None
    masked: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class SummedRound:
    """The sum over all sites, float64 ``[length]``, and the log lines of its releases."""

    total: NDArray[np.float64]
    records: tuple[ReleaseRecord, ...]


class SumRounds:
    """Asks all sites of one run; knows which node is which site."""

    def __init__(self, grid: Grid, *, nodes: Mapping[str, int], timeout: float | None) -> None:
        self._grid = grid
        self._nodes = dict(nodes)
        self._timeout = timeout

    @property
    def roster(self) -> tuple[str, ...]:
        """Names of the sites, sorted."""
        return tuple(sorted(self._nodes))

    def ask(self, query: AnySumQuery, arrays: dict[str, NDArray[np.float64]]) -> SummedRound:
        """Ask every site of the roster and add the answers.

        Raises:
            CoordinationError: a site did not answer within the timeout, answered with anything
                but its release of exactly this query, or refused. Nothing is added up then.
        """
        frame = encode_query(query, arrays)
        digest = frame_digest(frame)
        answers, failures = _exchange(
            self._grid, frame, self._nodes.values(), timeout=self._timeout
        )
        total: NDArray[np.uint64] | None = None
        scale_bits: int | None = None
        records = []
        for site in self.roster:
            answer_frame = answers.get(self._nodes[site])
            if answer_frame is None:
                why = failures.get(self._nodes[site], "no reply in time")
                raise CoordinationError(f"{site} did not answer round {query.round}: {why}")
            release, summand = _release_of(answer_frame, site=site, query=query, digest=digest)
            if total is None:
                total, scale_bits = summand.copy(), release.scale_bits
            elif summand.shape != total.shape or release.scale_bits != scale_bits:
                raise CoordinationError(f"{site} answered in another ring than the sites before it")
            else:
                total += summand
            records.append(
                ReleaseRecord(
                    site=site,
                    kind=query.kind,
                    round=query.round,
                    attempt=query.attempt,
                    query_digest=digest,
                    release_digest=frame_digest(answer_frame),
                    executed=release.executed,
                    masked=release.masked,
                )
            )
        if total is None or scale_bits is None:
            raise CoordinationError("the roster is empty")
        return SummedRound(total=decode_units(total, scale_bits=scale_bits), records=tuple(records))


def identify_sites(
    grid: Grid,
    *,
    run_id: str,
    study_digest: str,
    expected_sites: int,
    timeout: float | None,
    poll_seconds: float = 0.2,
) -> dict[str, int]:
    """Wait for ``expected_sites`` nodes and learn which site each one is.

    Raises:
        CoordinationError: too few nodes within the timeout, a refusal, or a name used twice.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while len(node_ids := sorted(grid.get_node_ids())) < expected_sites:
        if deadline is not None and time.monotonic() > deadline:
            raise CoordinationError(
                f"{len(node_ids)} of {expected_sites} sites are connected; start the others"
            )
        time.sleep(poll_seconds)
    frame = encode_query(IdentifyQuery(run_id=run_id, study_digest=study_digest), {})
    nodes: dict[str, int] = {}
    answers, failures = _exchange(grid, frame, node_ids, timeout=timeout)
    for node, answer_frame in sorted(answers.items()):
        answer, _ = _decoded(answer_frame, who=f"node {node}")
        if isinstance(answer, Refusal):
            raise CoordinationError(f"{answer.site} refused ({answer.reason}): {answer.message}")
        if not isinstance(answer, Identified) or (answer.run_id, answer.study_digest) != (
            run_id,
            study_digest,
        ):
            raise CoordinationError(f"node {node} did not identify itself")
        if answer.site in nodes:
            raise CoordinationError(f"two nodes call themselves {answer.site}")
        nodes[answer.site] = node
    if len(nodes) < expected_sites:
        why = f": {next(iter(failures.values()))}" if failures else ""
        raise CoordinationError(f"{len(nodes)} of {expected_sites} sites answered{why}")
    return nodes


def _exchange(
    grid: Grid, frame: bytes, node_ids: Iterable[int], *, timeout: float | None
) -> tuple[dict[int, bytes], dict[int, str]]:
    """Send one frame to each node; return the answering frames and the failures' reasons."""
    messages = [
        Message(
            content=RecordDict({RECORD: ConfigRecord({FIELD: frame})}),
            dst_node_id=node,
            message_type=MESSAGE_TYPE,
        )
        for node in node_ids
    ]
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    # An error reply may come from the SuperLink's own id, so replies are matched by message.
    asked = {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
    answers: dict[int, bytes] = {}
    failures: dict[int, str] = {}
    for reply in replies:
        node = asked.get(reply.metadata.reply_to_message_id)
        if node is None:
            continue
        if reply.has_error():
            failures[node] = str(reply.error.reason)
            continue
        answer = reply.content.config_records.get(RECORD, ConfigRecord()).get(FIELD)
        if isinstance(answer, bytes):
            answers[node] = answer
        else:
            failures[node] = "its reply holds no frame"
    return answers, failures


def _release_of(
    frame: bytes, *, site: str, query: SumQuery, digest: str
) -> tuple[SumRelease, NDArray[np.uint64]]:
    answer, summand = _decoded(frame, who=site)
    if isinstance(answer, Refusal):
        raise CoordinationError(f"{site} refused ({answer.reason}): {answer.message}")
    if not isinstance(answer, SumRelease) or summand is None:
        raise CoordinationError(f"{site} answered with {answer.kind} instead of a sum")
    expected = (site, query.run_id, query.study_digest, digest, query.round, query.attempt)
    given = (
        answer.site,
        answer.run_id,
        answer.study_digest,
        answer.query_digest,
        answer.round,
        answer.attempt,
    )
    if given != expected:
        raise CoordinationError(f"{site} answered another query than the one it was asked")
    return answer, summand


def _decoded(
    frame: bytes, *, who: str
) -> tuple[Identified | Refusal | SumRelease, NDArray[np.uint64] | None]:
    try:
        return decode_answer(frame)
    except FrameError as error:
        raise CoordinationError(f"{who} sent a malformed answer: {error}") from error
