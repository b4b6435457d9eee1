"""What the benchmark of secure sums measured, before it is laid out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from flower_secagg import ALL_SHARES, SecAggTask
from secure_sum_accuracy import Comparison
from secure_sum_costs import AddingCost, SiteCost
from secure_sum_exactness import Exactness
from secure_sum_rounds import OurRounds
from secure_sum_setup import RoundTime


@dataclass(frozen=True, kw_only=True)
class ManySites:
    """The same rounds with masks and without, under one noise seed."""

    sites: int
    parameters: int
    masked: OurRounds
    bare: OurRounds

    @property
    def equal_sums(self) -> int:
        """Rounds whose ring elements are the same, bit by bit."""
        return sum(a == b for a, b in zip(self.masked.sums, self.bare.sums, strict=True))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """SecAgg+ beside ours at one size; a sentence where SecAgg+ did not end well."""

    task: SecAggTask
    secagg: list[RoundTime] | str
    ours: OurRounds

    @property
    def like_for_like(self) -> bool:
        """Whether every pair of sites has a mask on both sides."""
        return self.task.shares == ALL_SHARES

    @property
    def size(self) -> str:
        """Sites and parameters in words."""
        return f"{self.task.sites} sites x {self.task.parameters:,} parameters"

    @property
    def shares(self) -> str:
        """SecAgg+'s shares in words."""
        return "all shares" if self.like_for_like else f"{self.task.shares} shares"

    @property
    def ratio(self) -> float | None:
        """Wall time of SecAgg+ over ours; None without SecAgg+."""
        return None if isinstance(self.secagg, str) else later(self.secagg) / self.our_seconds

    @property
    def our_seconds(self) -> float:
        """Median wall time of ours from the second round on."""
        return later(self.ours.rounds)


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All that was measured; ``memory`` are traced rounds by number of sites."""

    sites: Sequence[SiteCost]
    adding: Sequence[AddingCost]
    memory: dict[int, OurRounds]
    many: ManySites
    cells: Sequence[Cell]
    exact: Exactness
    accuracy: Sequence[Comparison]
    lacking: Sequence[str] = ()


def later(rounds: Sequence[RoundTime]) -> float:
    """Median wall seconds from the second round on."""
    return statistics.median(one.wall for one in rounds[1:])


def later_cpu(rounds: Sequence[RoundTime]) -> float:
    """Median CPU seconds from the second round on."""
    return statistics.median(one.cpu for one in rounds[1:])
