"""What one release costs a site, and what adding releases costs the coordinator.

CPU time of the process, one thread. A release goes through the code that a vault runs: the ring
codec, the calibrated share of the noise, the session's masks, frame and seal.
"""

from __future__ import annotations

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from secure_sum_setup import RUN_ID, Federation, federation_of, masked_sum, sessions_of, study_of

from fedward.client.vault.protection import PlannedProtection, SumRules
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.releases import SumRelease
from fedward.common.protocol.sealed import open_sealed, sealed_answer
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.secure_sum.session import Session

T = TypeVar("T")

STEPS = ("encode", "noise", "masks", "seal")
QUERY_DIGEST = "0" * 64
AES_BLOCK = 16
PIECES = (2**18, 2**20, 2**23)
"""Bytes that one bare update takes at a time; the fastest of them is the floor."""


@dataclass(frozen=True, kw_only=True)
class SiteTask:
    """One site's releases of ``length`` coordinates in a roster of ``sites``."""

    sites: int
    length: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class SiteCost:
    """CPU milliseconds of one release, step by step, ``[repeats]`` each; ``floor`` is bare AES."""

    sites: int
    length: int
    steps: dict[str, list[float]]
    floor: list[float]

    @property
    def totals(self) -> list[float]:
        """Whole releases."""
        return [sum(parts) for parts in zip(*self.steps.values(), strict=True)]

    @property
    def over_floor(self) -> float:
        """Median of the masks over the median of the floor."""
        return statistics.median(self.steps["masks"]) / statistics.median(self.floor)


def site_cost(task: SiteTask) -> SiteCost:
    """Make releases of one site; ValueError if one is not what the coordinator would accept."""
    study = study_of(task.length, rounds=task.repeats + 1)
    federation = federation_of(task.sites)
    site = federation.roster.names[task.sites // 2]
    session = sessions_of(federation, study_digest=study.digest, members=[site])[site]
    rules = PlannedProtection().rules(
        study, "training", sites=task.sites, colluding=study.privacy.colluding
    )
    values = np.random.default_rng(0).standard_normal(task.length)
    values /= np.linalg.norm(values)
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    floor = []
    for number in range(1, task.repeats + 2):
        release = _Release(federation, site, session, study.digest, number)
        timed = release.timed(rules, values)
        bare = bare_aes((task.sites - 1) * 8 * task.length)
        if number > 1:  # the first warms up
            floor.append(bare)
            for step, milliseconds in timed.items():
                steps[step].append(milliseconds)
    return SiteCost(sites=task.sites, length=task.length, steps=steps, floor=floor)


def bare_aes(size: int) -> float:
    """CPU milliseconds of ``size`` bytes of AES-256-CTR alone, at the fastest size of update."""
    return min(_bare_aes(size, piece=piece) for piece in PIECES)


def _bare_aes(size: int, *, piece: int) -> float:
    piece = min(piece, size)
    zeros, into = memoryview(bytes(piece)), bytearray(piece + AES_BLOCK)
    update = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(AES_BLOCK))).encryptor()
    started = time.process_time()
    for first in range(0, size, piece):
        update.update_into(zeros[: size - first], into)
    return 1e3 * (time.process_time() - started)


@dataclass(frozen=True)
class _Release:
    """One release of one site, as its vault makes it."""

    federation: Federation
    site: str
    session: Session
    study_digest: str
    number: int

    def timed(self, rules: SumRules, values: NDArray[np.float64]) -> dict[str, float]:
        """Make it and return each step's milliseconds."""
        masked = masked_sum(
            self.federation,
            study_digest=self.study_digest,
            query_digest=QUERY_DIGEST,
            number=self.number,
        )
        stream = RandomSource.from_os().stream(purpose="benchmark", context=b"release")
        identity = self.federation.identities[self.site]
        clock = _Clock()
        elements = clock.timed("encode", lambda: rules.codec.encode(values))
        clock.timed("noise", lambda: rules.add_noise(elements, stream))
        hidden = clock.timed("masks", lambda: self.session.hide(masked, elements))
        answer = SumRelease(
            site=self.site,
            run_id=RUN_ID,
            study_digest=self.study_digest,
            query_digest=QUERY_DIGEST,
            round=self.number,
            attempt=1,
            executed=rules.executed,
            masked=hidden,
            scale_bits=rules.codec.scale_bits,
        )
        sealed, _ = clock.timed("seal", lambda: sealed_answer(answer, elements, identity=identity))
        answered, total = open_sealed(sealed).answer_of(identity.public_key)
        if answered != answer or total is None or not np.array_equal(total, elements):
            raise ValueError("the sealed release is not the one that was made")
        return clock.milliseconds


class _Clock:
    """CPU time by step."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    def timed(self, step: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        self.milliseconds[step] = 1e3 * (time.process_time() - started)
        return result


@dataclass(frozen=True, kw_only=True)
class AddingTask:
    """Releases of ``sites`` sites, each of ``length`` coordinates, added up ``repeats`` times."""

    sites: int
    length: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class AddingCost:
    """CPU milliseconds of a whole sum, ``[repeats]`` each, and the most memory that it took.

    ``adding`` is the additions alone, ``verifying`` the hashes, signatures and frames.
    ``peak_bytes`` counts everything that the coordinator's side holds, one release included.
    """

    sites: int
    length: int
    adding: list[float]
    verifying: list[float]
    peak_bytes: int


def adding_cost(task: AddingTask) -> AddingCost:
    """Verify and add releases that come one at a time; ValueError for a wrong sum."""
    federation = federation_of(task.sites)
    adding, verifying = [], []
    for _ in range(task.repeats):
        clock = _sum_up(federation, task.length)
        adding.append(1e3 * clock.adding)
        verifying.append(1e3 * clock.verifying)
    tracemalloc.start()
    _sum_up(federation, task.length)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return AddingCost(
        sites=task.sites, length=task.length, adding=adding, verifying=verifying, peak_bytes=peak
    )


@dataclass
class _AddingClock:
    adding: float = 0.0
    verifying: float = 0.0


def _sum_up(federation: Federation, length: int) -> _AddingClock:
    clock, running = _AddingClock(), RunningSum(length)
    expected = 0
    for site, sealed in _releases(federation, length):
        started = time.process_time()
        _, total = open_sealed(sealed).answer_of(federation.roster.key_of(site))
        verified = time.process_time()
        assert total is not None
        running.add(total)
        clock.verifying += verified - started
        clock.adding += time.process_time() - verified
        expected += int(total[-1])
        del sealed, total
    if int(running.total[-1]) != expected % 2**64:
        raise ValueError("the releases were not added up")
    return clock


def _releases(federation: Federation, length: int) -> Iterator[tuple[str, bytes]]:
    """Sealed releases of uniform ring elements, which masked ones look like."""
    for site, identity in federation.identities.items():
        answer = SumRelease(
            site=site,
            run_id=RUN_ID,
            study_digest="0" * 64,
            query_digest=QUERY_DIGEST,
            round=1,
            attempt=1,
            executed=None,
            masked=True,
            scale_bits=24,
        )
        elements = np.frombuffer(os.urandom(8 * length), dtype=np.uint64)
        yield site, sealed_answer(answer, elements, identity=identity)[0]
