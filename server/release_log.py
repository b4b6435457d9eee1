"""The coordinator's log: what each site was asked in each attempt, and what came of it.

Epsilon is accounted from it, so it errs on the safe side: a site that was asked is taken as
charged, unless it signed a refusal that it decided before it charged itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from fedward.common.ledger.heads import LedgerPosition
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.releases import ExecutedNoise


class ReleaseRecord(BaseModel):
    """One line of the coordinator's log: one site in one attempt at a sum.

    ``release_digest`` names the frame that the site sealed, None if no valid release came.
    ``charged`` says that the site must be taken to have answered at this place, whether or not its
    answer arrived; ``executed`` is then the noise of that, as the site told it or, for a lost
    answer, what the plan has over all sites of the roster (None without privacy). ``bytes`` and
    ``query_bytes`` are the sizes of answer and query. ``summed`` says whether the attempt was
    complete and its sum was used.
    ``failure`` is what went wrong at this site, None for a valid release. ``ledger`` is where the
    site wrote the release down, which the head that it signed ends with; None if no valid release
    came or the ledger has no chain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    kind: SumKind
    session: int = Field(ge=1)
    round: int = Field(ge=0)
    attempt: int = Field(ge=1)
    query_digest: str
    release_digest: str | None
    executed: ExecutedNoise | None
    masked: bool
    bytes: int = Field(ge=0)
    query_bytes: int = Field(ge=0)
    summed: bool
    charged: bool
    failure: str | None
    ledger: LedgerPosition | None = None


class ReleaseLog:
    """All lines of one run, and what follows from them.

    ``local_steps`` is how many noised sums one release of the training stands for.
    """

    def __init__(self, records: Iterable[ReleaseRecord] = (), *, local_steps: int = 1) -> None:
        self._records: list[ReleaseRecord] = []
        self._local_steps = local_steps
        self._charged: dict[str, Counter[SumKind]] = {}
        self._last_attempts: dict[tuple[str, int], int] = {}
        self._attempts: dict[str, tuple[SumKind, bool]] = {}
        self.add(records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> tuple[ReleaseRecord, ...]:
        """Every line, oldest first."""
        return tuple(self._records)

    def since(self, count: int) -> Sequence[ReleaseRecord]:
        """The lines after the first ``count``."""
        return self._records[count:]

    def add(self, records: Iterable[ReleaseRecord]) -> None:
        """Append lines."""
        for record in records:
            self._records.append(record)
            place = (record.site, record.round)
            self._last_attempts[place] = max(self._last_attempts.get(place, 0), record.attempt)
            _, summed = self._attempts.get(record.query_digest, (record.kind, False))
            self._attempts[record.query_digest] = (record.kind, summed or record.summed)
            if record.charged:
                counts = self._charged.setdefault(record.site, Counter())
                counts[record.kind] += self.sums_of(record.kind)

    def sums_of(self, kind: SumKind) -> int:
        """How many noised sums one release of this kind is charged as."""
        return self._local_steps if kind == "training" else 1

    def charged(self, site: str) -> Counter[SumKind]:
        """How many noised sums of each kind a site is taken to have been charged for."""
        return self._charged.get(site, Counter())

    def next_attempt(self, round_number: int, sites: Collection[str]) -> int:
        """The first attempt at this round that none of the sites was asked for."""
        return 1 + max(self._last_attempts.get((site, round_number), 0) for site in sites)

    def lost(self, kind: SumKind) -> int:
        """Attempts at sums of this kind that came to nothing."""
        return sum(not summed for of, summed in self._attempts.values() if of == kind)
