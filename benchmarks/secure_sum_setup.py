"""What the measurements of secure sums share: studies of a given length, rosters and sessions."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.offers import SessionKey
from fedward.common.secure_sum.roster import Roster, SignedRoster, sign_roster
from fedward.common.secure_sum.session import Session
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.common.study.loading import find_study, load_study

RUN_ID = "benchmark"
COLUMNS = 17
HIDDEN = {1_000: (13, 51), 10_000: (13, 651), 100_000: (25, 3687), 1_000_000: (637, 1547)}
"""Hidden layers with which a perceptron of :data:`COLUMNS` columns has exactly so many weights."""


@dataclass(frozen=True, kw_only=True)
class RoundTime:
    """Wall and CPU seconds of one round, all sites and the coordinator together."""

    wall: float
    cpu: float


class Stopwatch:
    """Two clocks, read together."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self) -> RoundTime:
        """The time since the last lap, or since the start."""
        wall, cpu = time.perf_counter(), time.process_time()
        passed = RoundTime(wall=wall - self._wall, cpu=cpu - self._cpu)
        self._wall, self._cpu = wall, cpu
        return passed


@dataclass(frozen=True, kw_only=True)
class Federation:
    """The identities of its sites, and the roster that it signed."""

    identities: dict[str, SiteIdentity]
    roster: Roster
    signed_roster: SignedRoster
    federation_key: bytes


@lru_cache(maxsize=16)
def study_of(length: int, *, rounds: int = 10) -> Study:
    """A study whose training sums have ``length`` coordinates, one of :data:`HIDDEN`.

    The shipped breast-cancer study with fewer columns, a perceptron and no other sums.
    """
    study = load_study(find_study("breast_cancer"))
    document = study.model_dump(mode="json")
    document["features"] = document["features"][:COLUMNS]
    document["model"] = {"name": "mlp", "options": {"hidden": HIDDEN[length]}}
    document["training"] |= {"rounds": rounds, "average_last": 1}
    document |= {"scaling": {}, "statistics": None}
    document["evaluation"]["release"] = False
    made = Study.model_validate(document)
    if Dimensions.of(made).parameters != length:
        raise ValueError(f"the model has {Dimensions.of(made).parameters} parameters, not {length}")
    return made


def site_names(count: int) -> tuple[str, ...]:
    """Names in their sorted order."""
    return tuple(f"site-{number:03d}" for number in range(count))


def federation_of(sites: int) -> Federation:
    """Fresh identities and a signed roster of them."""
    federation = SiteIdentity.generate()
    identities = {name: SiteIdentity.generate() for name in site_names(sites)}
    keys = {name: identity.public_key for name, identity in identities.items()}
    roster = Roster.of(keys, federation="benchmark")
    return Federation(
        identities=identities,
        roster=roster,
        signed_roster=sign_roster(roster, federation),
        federation_key=federation.public_key,
    )


def sessions_of(
    federation: Federation, *, study_digest: str, members: Sequence[str] | None = None
) -> dict[str, Session]:
    """Let ``members`` (None: all sites) join one session of all sites."""
    keys = {
        name: SessionKey.make(
            identity,
            site=name,
            run_id=RUN_ID,
            study_digest=study_digest,
            roster_digest=federation.roster.digest,
            session=1,
            private_key=os.urandom(32),
        )
        for name, identity in federation.identities.items()
    }
    offers = tuple(key.offer for key in keys.values())
    return {
        name: Session.join(keys[name], offers, roster=federation.roster)
        for name in (keys if members is None else members)
    }


def masked_sum(
    federation: Federation, *, study_digest: str, query_digest: str, number: int
) -> MaskedSum:
    """The sum of round ``number`` over all sites."""
    return MaskedSum(
        run_id=RUN_ID,
        study_digest=study_digest,
        session=1,
        roster=federation.roster.names,
        round=number,
        attempt=1,
        query_digest=query_digest,
    )
