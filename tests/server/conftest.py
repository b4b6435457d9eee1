"""Stand-ins for sites, with real keys and real masks, and grids on which they misbehave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from fedward.common.ledger.heads import LedgerHead
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import plan_for
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.envelope import FIELD, RECORD
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    AnySumQuery,
    CloseSessionQuery,
    GradientSumQuery,
    OpenSessionQuery,
    decode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    Answer,
    ExecutedNoise,
    Refusal,
    RefusalReason,
    SessionClosed,
    SessionOpened,
    SumRelease,
)
from fedward.common.protocol.sealed import sealed_answer
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.roster import Roster, SignedRoster, sign_roster
from fedward.common.secure_sum.session import Session, SessionKey
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.server.attempt import WantedSum
from fedward.server.head_book import HeadBook, MemoryHeads
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_options import RunOptions
from fedward.server.seen_heads import SeenHeads
from fedward.server.sum_rounds import SumRounds
from fedward.server.training.state import TrainingState
from fedward.simulations.engines.direct_grid import DirectGrid
from fedward.simulations.engines.node_numbers import COORDINATOR_NODE, node_of

Node = Callable[[bytes], object]
"""What a node says to a frame: bytes, a whole RecordDict, an exception, or None for silence."""
LENGTH = 4


class ScriptedGrid(DirectGrid):
    """Nodes that say what a test wants; ``order`` is that in which replies are handed over."""

    def __init__(
        self, nodes: Sequence[Node], *, order: Sequence[int] | None = None, at_once: bool = False
    ) -> None:
        super().__init__(sites=len(nodes))
        TaskIdentity.task_id = TaskIdentity.run_id = 1
        TaskIdentity.node_id = COORDINATOR_NODE
        self.nodes = {node_of(number): node for number, node in enumerate(nodes)}
        self.frames: list[bytes] = []
        self.asked: list[int] = []
        self._order = [node_of(number) for number in order or range(len(nodes))]
        self._at_once = at_once
        self.waiting: dict[str, Message] = {}

    def submit(self, messages: Sequence[Message]) -> None:
        self.waiting |= {message.metadata.message_id: message for message in messages}

    def ready(self, message_ids: Sequence[str]) -> list[Message]:
        found: list[Message] = []
        wanted = [name for name in message_ids if name in self.waiting]
        for name in sorted(wanted, key=self._turn):
            message = self.waiting.pop(name)
            frame = message.content.config_records[RECORD][FIELD]
            assert isinstance(frame, bytes)
            self.frames.append(frame)
            self.asked.append(message.metadata.dst_node_id)
            said = self.nodes[message.metadata.dst_node_id](frame)
            if said is not None:
                found.append(_reply(message, said))
                if not self._at_once:
                    break
        return found

    def _turn(self, name: str) -> int:
        return self._order.index(self.waiting[name].metadata.dst_node_id)

    @property
    def queries(self) -> list[Any]:
        """Every query once, in order."""
        return [decode_query(frame)[0] for frame in dict.fromkeys(self.frames)]

    @property
    def sums(self) -> list[Any]:
        """Every query for a sum once, in order."""
        return [
            query
            for query in self.queries
            if not isinstance(query, OpenSessionQuery | CloseSessionQuery)
        ]


def _reply(message: Message, said: object) -> Message:
    if isinstance(said, Exception):
        return Message(Error(code=8, reason=str(said)), reply_to=message)
    if isinstance(said, RecordDict):
        return Message(said, reply_to=message)
    return Message(RecordDict({RECORD: ConfigRecord({FIELD: said})}), reply_to=message)  # type: ignore[dict-item]


@dataclass
class StandIn:
    """A site with real keys and real masks, whose summands are what a test says.

    ``executed`` is the noise that it declares. ``changes`` are wrong fields of its releases;
    ``faults`` says what it does instead of answering, by the number of the query for a sum, from 1.
    ``secret`` is that of all its session keys, if they are not to differ. ``sent`` is its last
    release. ``entries`` is how many its ledger holds, of which each release adds two; None is a
    ledger without a chain.
    """

    name: str
    roster: Roster
    identity: SiteIdentity
    summand: Callable[[AnySumQuery], Sequence[int]]
    executed: Callable[[AnySumQuery], ExecutedNoise | None] = lambda _: None
    changes: dict[str, Any] = field(default_factory=dict)
    faults: dict[int, Node] = field(default_factory=dict)
    secret: bytes | None = None
    entries: int | None = None
    ledger_id: str = "1" * 32
    sums: int = 0
    sent: bytes = b""
    sessions: dict[int, SessionKey] = field(default_factory=dict)
    joined: dict[int, Session] = field(default_factory=dict)

    def answer(self, frame: bytes) -> object:
        query, _ = decode_query(frame)
        if isinstance(query, OpenSessionQuery):
            return self.sealed(self.opened(query, frame))
        if isinstance(query, CloseSessionQuery):
            return self.closed(frame)
        self.sums += 1
        if self.sums in self.faults:
            return self.faults[self.sums](frame)
        return self.released(frame)

    def opened(self, query: OpenSessionQuery, frame: bytes, **changes: Any) -> SessionOpened:
        bound = {
            "site": self.name,
            "run_id": query.run_id,
            "study_digest": query.study_digest,
            "roster_digest": query.signed_roster.roster.digest,
            "session": query.session,
        }
        place = np.random.default_rng([*self.name.encode(), query.session, len(self.sessions)])
        key = SessionKey.make(
            self.identity, **(bound | changes), private_key=self.secret or place.bytes(32)
        )
        self.sessions[query.session] = key
        self.joined.pop(query.session, None)
        return SessionOpened(
            site=self.name, query_digest=frame_digest(frame), offer=key.offer, head=self.head()
        )

    def closed(self, frame: bytes) -> bytes:
        if self.entries is not None:
            self.entries += 1
        return self.sealed(
            SessionClosed(site=self.name, query_digest=frame_digest(frame), head=self.head())
        )

    def head(self, **changes: Any) -> LedgerHead | None:
        """How far its ledger goes, under its signature."""
        if self.entries is None:
            return None
        sequence = self.entries - 1
        fields = {"site": self.name, "ledger_id": self.ledger_id, "sequence": sequence}
        return LedgerHead.sign(self.identity, **(fields | {"digest": f"{sequence:064x}"} | changes))

    def released(self, frame: bytes, **changes: Any) -> bytes:
        """The release of this query, with wrong fields or elements."""
        query, _ = decode_query(frame)
        assert not isinstance(query, OpenSessionQuery | CloseSessionQuery)
        if query.session not in self.sessions:
            return self.refused(frame, RefusalReason.UNKNOWN_SESSION)
        if query.session not in self.joined:
            self.joined[query.session] = Session.join(
                self.sessions[query.session], query.offers, roster=self.roster
            )
        summand = changes.pop("summand", self.summand(query))
        if isinstance(summand, np.ndarray):
            elements = summand.astype(np.uint64)
        else:
            elements = np.array([value % 2**64 for value in summand], dtype=np.uint64)
        masked = query.kind != "site_evaluation" and self.joined[query.session].hide(
            MaskedSum(
                run_id=query.run_id,
                study_digest=query.study_digest,
                session=query.session,
                roster=query.roster,
                round=query.round,
                attempt=query.attempt,
                query_digest=frame_digest(frame),
            ),
            elements,
        )
        fields: dict[str, Any] = {
            "site": self.name,
            "run_id": query.run_id,
            "study_digest": query.study_digest,
            "query_digest": frame_digest(frame),
            "round": query.round,
            "attempt": query.attempt,
            "executed": self.executed(query),
            "masked": masked,
            "scale_bits": 24,
        }
        if self.entries is not None:
            self.entries += 1
            fields["ledger"] = self.head()
            self.entries += 1
        release = SumRelease(**(fields | self.changes | changes))
        sealed = self.sealed(release, elements)
        if elements.size < 100:
            self.sent = sealed
        return sealed

    def refused(self, frame: bytes, reason: RefusalReason, **changes: Any) -> bytes:
        fields = {
            "site": self.name,
            "query_digest": frame_digest(frame),
            "reason": reason,
            "message": "It does not want to.",
        }
        return self.sealed(Refusal(**(fields | changes)))

    def sealed(self, answer: Answer, elements: NDArray[np.uint64] | None = None) -> bytes:
        return sealed_answer(answer, elements, identity=self.identity)[0]


class StandInFederation:
    """Some stand-ins, the roster of their keys, and a coordinator's options for them.

    With a ``study`` they declare its noise, and the options have its budget.
    """

    def __init__(
        self,
        names: Sequence[str],
        summands: Mapping[str, Sequence[int]],
        *,
        study: Study | None = None,
        coordinator: SiteIdentity | None = None,
    ) -> None:
        self.coordinator = coordinator
        self._budget = None if study is None else RunBudget(plan_for(study, sites=len(names)))
        identities = {
            name: SiteIdentity.from_private_bytes(name.encode().ljust(32, b"\0")) for name in names
        }
        self.key = SiteIdentity.from_private_bytes(b"f" * 32)
        roster = Roster.of(
            {name: identity.public_key for name, identity in identities.items()},
            federation="test",
            coordinator_key=None if coordinator is None else coordinator.public_key,
        )
        self.signed_roster: SignedRoster = sign_roster(roster, self.key)
        self.sites = {
            name: StandIn(
                name=name,
                roster=roster,
                identity=identities[name],
                summand=_constant(summands.get(name, (1, 2, 3, 4))),
                executed=lambda query: None if study is None else planned_noise(study, query),
            )
            for name in names
        }

    def grid(self, **options: Any) -> ScriptedGrid:
        return ScriptedGrid([site.answer for site in self.sites.values()], **options)

    def options(self, **changes: Any) -> RunOptions:
        fields: dict[str, Any] = {
            "run_id": "run",
            "signed_roster": self.signed_roster,
            "federation_key": self.key.public_key,
            "poll_seconds": 0.001,
            "timeout": 60.0,
            "budget": self._budget,
            "coordinator": self.coordinator,
        }
        return RunOptions(**(fields | changes))

    def seen_heads(self, book: HeadBook | None = None, *, run_id: str = "run") -> SeenHeads:
        return SeenHeads(
            book or MemoryHeads(),
            run_id=run_id,
            roster=self.signed_roster.roster,
            coordinator=self.coordinator,
        )


def planned_noise(study: Study, query: AnySumQuery) -> ExecutedNoise:
    """What a vault that has approved the study executes."""
    kinds: dict[str, SumKind] = {"gradient_sum": "training", "local_update": "training"}
    kind = kinds.get(query.kind, query.kind)  # type: ignore[arg-type]
    plan = plan_for(study, sites=len(query.roster)).of(kind)
    assert plan is not None
    return ExecutedNoise(
        noise_multiplier=plan.noise_multiplier,
        share_multiplier=plan.share_multiplier,
        sampling_rate=plan.sampling_rate,
        count=1,
    )


def _constant(summand: Sequence[int]) -> Callable[[AnySumQuery], Sequence[int]]:
    return lambda _: summand


class KeptCheckpoints:
    """Checkpoints in memory, which remember every call."""

    def __init__(self, kept: tuple[TrainingState, list[ReleaseRecord]] | None = None) -> None:
        self.kept = kept
        self.saved: list[tuple[TrainingState, tuple[ReleaseRecord, ...]]] = []

    def load(self) -> tuple[TrainingState, list[ReleaseRecord]] | None:
        return self.kept

    def save(self, state: TrainingState, new_records: Sequence[ReleaseRecord]) -> None:
        before = self.kept[1] if self.kept else []
        self.kept = (state, [*before, *new_records])
        self.saved.append((state, tuple(new_records)))
        assert state.logged == len(self.kept[1])


@pytest.fixture
def make_grid() -> Callable[..., ScriptedGrid]:
    return ScriptedGrid


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedGrid], ScriptedGrid]:
    """A grid on which the time is up when every node was asked, however long that took."""

    def make(grid: ScriptedGrid) -> ScriptedGrid:
        monkeypatch.setattr("fedward.server.exchange._passed", lambda _: not grid.waiting)
        return grid

    return make


@pytest.fixture
def federate() -> Callable[..., StandInFederation]:
    """Stand-ins a, b and c, or of other names; summands by name. Without ``study`` no noise."""

    def make(
        names: Sequence[str] = "abc",
        study: Study | None = None,
        coordinator: SiteIdentity | None = None,
        **summands: Sequence[int],
    ) -> StandInFederation:
        return StandInFederation(list(names), summands, study=study, coordinator=coordinator)

    return make


@pytest.fixture
def begun(study: Study) -> Callable[..., SumRounds]:
    """Rounds over a grid whose first session is open."""

    def begin(grid: DirectGrid, options: RunOptions, **more: Any) -> SumRounds:
        rounds = SumRounds(grid, study, options, **more)
        rounds.begin()
        return rounds

    return begin


@pytest.fixture
def wanted() -> Callable[..., WantedSum]:
    """A training sum of four numbers, of round 3 or another."""

    def make(**changes: Any) -> WantedSum:
        fields: dict[str, Any] = {
            "kind": "training",
            "query": GradientSumQuery,
            "round": 3,
            "length": LENGTH,
            "arrays": {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)},
        } | changes
        query = fields["query"].model_fields["kind"].default
        arrays = {name: fields["arrays"][name] for name in ARRAYS_OF[query]}
        return WantedSum(**(fields | {"arrays": arrays}))

    return make


@pytest.fixture
def make_checkpoints() -> Callable[..., KeptCheckpoints]:
    return KeptCheckpoints
