"""Whether masked releases add up to the same ring elements as bare ones, bit by bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from secure_sum_setup import RUN_ID, federation_of, sessions_of

from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.running_sum import RunningSum

STUDY_DIGEST = "0" * 64


@dataclass(frozen=True, kw_only=True)
class ExactnessTask:
    """``sums`` over rosters of 2 to ``sites``, of 1 to ``longest`` coordinates."""

    sites: int
    longest: int
    sums: int


@dataclass(frozen=True, kw_only=True)
class Exactness:
    """How many of ``sums`` masked sums are the bare ones, and how many releases were masked.

    ``bare_elements`` counts elements of masked releases that are the site's own, which chance
    gives one in 2^64.
    """

    sums: int
    equal: int
    releases: int
    elements: int
    bare_elements: int


def exactness(task: ExactnessTask) -> Exactness:
    """Mask and add uniform ring elements over random rosters of one session."""
    federation = federation_of(task.sites)
    sessions = sessions_of(federation, study_digest=STUDY_DIGEST)
    generator = np.random.default_rng(0)
    equal = releases = elements = bare_elements = 0
    for number in range(1, task.sums + 1):
        size = int(generator.integers(2, task.sites + 1))
        length = int(generator.integers(1, task.longest + 1))
        roster = np.sort(generator.choice(federation.roster.names, size, replace=False))
        masked_sum = MaskedSum(
            run_id=RUN_ID,
            study_digest=STUDY_DIGEST,
            session=1,
            roster=tuple(str(name) for name in roster),
            round=number,
            attempt=1,
            query_digest=f"{number:064x}",
        )
        summands = generator.integers(0, 2**64, (size, length), dtype=np.uint64)
        running = RunningSum(length)
        for site, bare in zip(masked_sum.roster, summands, strict=True):
            hidden = bare.copy()
            sessions[site].hide(masked_sum, hidden)
            running.add(hidden)
            bare_elements += int((hidden == bare).sum())
        equal += np.array_equal(running.total, summands.sum(axis=0, dtype=np.uint64))
        releases += size
        elements += summands.size
    return Exactness(
        sums=task.sums,
        equal=equal,
        releases=releases,
        elements=elements,
        bare_elements=bare_elements,
    )
