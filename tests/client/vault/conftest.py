"""A federation of sites with keys, and vaults whose session is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import Ledger, LedgerEntry, MemoryLedger
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.client.vault.session_desk import JoinedSession, SessionDesk
from fedward.client.vault.vault import Vault
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    AnySumQuery,
    GradientSumQuery,
    OpenSessionQuery,
    SumQuery,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import Answer, SessionOpened, SumRelease
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.offers import SessionKey, SessionOffer
from fedward.common.secure_sum.roster import Roster, SignedRoster, sign_roster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

NAMES = ("Cleveland_2.a", *(f"site-{number}" for number in range(10)))
Totals = dict[str, NDArray[np.uint64]]


def randomness_of(seed: int | None) -> RandomSource:
    return RandomSource.from_os() if seed is None else RandomSource.insecure(seed)


class PlainDesk(SessionDesk):
    """Joins as any desk does, and adds no mask: for tests that look at what masks hide."""

    def joined(self, query: SumQuery) -> JoinedSession:
        return replace(super().joined(query), masks=NoMasks())


class NoMasks:
    def hide(self, masked: MaskedSum, elements: NDArray[np.uint64]) -> bool:
        return False


@dataclass
class Federation:
    """The federation's key, its sites' identities, and session keys for sites without a vault."""

    key: SiteIdentity = field(default_factory=SiteIdentity.generate)
    identities: dict[str, SiteIdentity] = field(
        default_factory=lambda: {name: SiteIdentity.generate() for name in NAMES}
    )

    def __post_init__(self) -> None:
        self.keys = {name: identity.public_key for name, identity in self.identities.items()}
        self.signed = self.sign(self.keys)
        self.session_key = cache(self._session_key)

    def sign(self, keys: Mapping[str, bytes], *, serial: int = 1) -> SignedRoster:
        return sign_roster(Roster.of(keys, federation="tests", serial=serial), self.key)

    def signed_for(self, names: Iterable[str], *, serial: int = 1) -> SignedRoster:
        return self.sign({name: self.keys[name] for name in names}, serial=serial)

    def policy(self, **changes: Any) -> SitePolicy:
        return SitePolicy(
            **({"federation_key": self.key.public_key, "known_keys": self.keys} | changes)
        )

    def desk(
        self,
        site: str,
        *,
        policy: SitePolicy | None = None,
        seed: int | None = None,
        masked: bool = True,
    ) -> SessionDesk:
        return (SessionDesk if masked else PlainDesk)(
            site=site,
            identity=self.identities[site],
            policy=policy or self.policy(),
            randomness=randomness_of(seed),
        )

    def query_for_session(
        self,
        study: Study,
        *,
        run_id: str = "run",
        session: int = 1,
        signed: SignedRoster | None = None,
    ) -> OpenSessionQuery:
        return OpenSessionQuery(
            run_id=run_id,
            study_digest=study.digest,
            session=session,
            signed_roster=signed or self.signed,
        )

    def join(self, desk: SessionDesk, site: str, study: Study, *, run_id: str = "run") -> None:
        """Open and join session 1; the other sites' keys are the federation's own."""
        own = desk.open(self.query_for_session(study, run_id=run_id), minimum_sites=1)
        others = (
            self.session_key(name, run_id, study.digest).offer for name in NAMES if name != site
        )
        desk.joined(
            GradientSumQuery(
                run_id=run_id,
                study_digest=study.digest,
                session=1,
                roster=(site,),
                round=1,
                attempt=1,
                offers=tuple(sorted((own, *others), key=lambda offer: offer.site)),
            )
        )

    def _session_key(self, site: str, run_id: str, study_digest: str) -> SessionKey:
        stream = RandomSource.from_os().stream(purpose="session-key", context=b"")
        return SessionKey.make(
            self.identities[site],
            site=site,
            run_id=run_id,
            study_digest=study_digest,
            roster_digest=self.signed.roster.digest,
            session=1,
            private_key=stream.uint64(4).tobytes(),
        )


@dataclass
class OpenRun:
    """Vaults in one open session, and what a coordinator does with them.

    ``secrets`` are desks with the same session keys as the vaults: they know every mask.
    """

    study: Study
    vaults: dict[str, Vault]
    offers: tuple[SessionOffer, ...]
    secrets: dict[str, SessionDesk]
    make_query: Callable[..., AnySumQuery]
    keys: dict[str, bytes]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.vaults))

    def query(self, kind: str = "gradient_sum", **changes: Any) -> AnySumQuery:
        fields: dict[str, Any] = {"roster": self.names, "offers": self.offers} | changes
        return self.make_query(self.study, kind, **fields)

    def frame(self, query: AnySumQuery, **arrays: NDArray[np.float64]) -> bytes:
        dimensions = Dimensions.of(self.study)
        given = {
            "parameters": np.zeros(dimensions.parameters),
            "center": np.zeros(dimensions.columns),
            "scale": np.ones(dimensions.columns),
        } | arrays
        return encode_query(query, {name: given[name] for name in ARRAYS_OF[query.kind]})

    def ask(self, site: str, frame: bytes) -> tuple[Answer, NDArray[np.uint64] | None]:
        """Put a frame to one vault, and check its seal."""
        return open_sealed(self.vaults[site].answer(frame)).answer_of(self.keys[site])

    def releases(self, query: AnySumQuery, **arrays: NDArray[np.float64]) -> Totals:
        """What every site of the query's roster releases."""
        frame = self.frame(query, **arrays)
        found: Totals = {}
        for site in query.roster:
            release, total = self.ask(site, frame)
            assert isinstance(release, SumRelease), release
            assert total is not None
            found[site] = total
        return found

    def mask(self, site: str, query: AnySumQuery, frame: bytes) -> NDArray[np.uint64]:
        """One site's mask, to be had with its session key alone; once for one place."""
        zeros = np.zeros(length_of(query, self.study), dtype=np.uint64)
        session = self.secrets[site].joined(query)
        session.masks.hide(
            MaskedSum(
                run_id=query.run_id,
                study_digest=query.study_digest,
                session=query.session,
                roster=query.roster,
                round=query.round,
                attempt=query.attempt,
                query_digest=frame_digest(frame),
            ),
            zeros,
        )
        return zeros


def length_of(query: AnySumQuery, study: Study) -> int:
    kinds = {"gradient_sum": "training", "local_update": "training"}
    kind: Any = kinds.get(query.kind, query.kind)
    return Dimensions.of(study).of_kind(kind)


@pytest.fixture(scope="session")
def federation() -> Federation:
    return Federation()


@pytest.fixture(scope="session")
def make_vault(federation: Federation, make_cohort: Callable[..., Cohort]) -> Callable[..., Vault]:
    """The vault of ``site-0``, or of another site, in session 1 of ``runs`` with all others."""

    def make(
        study: Study,
        *,
        cohort: Cohort | None = None,
        held_out: Cohort | None = None,
        site: str = "site-0",
        policy: Mapping[str, Any] | None = None,
        ledger: Ledger | None = None,
        protection: Protection | None = None,
        noise_seed: int | None = None,
        sessions: SessionDesk | None = None,
        runs: Sequence[str] = ("run",),
        masked: bool = True,
    ) -> Vault:
        own_policy = federation.policy(**(policy or {}))
        if sessions is None:
            sessions = federation.desk(site, policy=own_policy, seed=noise_seed, masked=masked)
            for run_id in runs:
                federation.join(sessions, site, study, run_id=run_id)
        return Vault(
            site=site,
            identity=federation.identities[site],
            cohort=cohort or make_cohort(columns=Dimensions.of(study).columns),
            held_out=held_out,
            studies={study.digest: study},
            policy=own_policy,
            ledger=MemoryLedger() if ledger is None else ledger,
            protection=protection or PlannedProtection(),
            randomness=randomness_of(noise_seed),
            sessions=sessions,
        )

    return make


@pytest.fixture(scope="session")
def open_run(
    federation: Federation,
    make_vault: Callable[..., Vault],
    make_query: Callable[..., AnySumQuery],
) -> Callable[..., OpenRun]:
    """Vaults of the first ``sites`` sites, whose session was opened as a coordinator does it.

    Keyword arguments are those of ``make_vault``; a callable is called with the site's name.
    """

    def opened(
        study: Study,
        *,
        sites: int = 3,
        run_id: str = "run",
        signed: SignedRoster | None = None,
        **options: Any,
    ) -> OpenRun:
        names = [f"site-{number}" for number in range(sites)]
        seed = int.from_bytes(np.random.PCG64().random_raw(3).tobytes(), "little")
        query = federation.query_for_session(study, run_id=run_id, signed=signed)
        vaults, secrets, offers = {}, {}, []
        for name in names:
            own = {key: made(name) if callable(made) else made for key, made in options.items()}
            policy = federation.policy(**own.get("policy", {}))
            masked = own.get("masked", True)
            desk = federation.desk(name, policy=policy, seed=seed, masked=masked)
            secrets[name] = federation.desk(name, policy=policy, seed=seed)
            secrets[name].open(query, minimum_sites=1)
            vaults[name] = make_vault(study, site=name, sessions=desk, **own)
            sealed = open_sealed(vaults[name].answer(encode_query(query, {})))
            answer, _ = sealed.answer_of(federation.keys[name])
            assert isinstance(answer, SessionOpened), answer
            offers.append(answer.offer)
        return OpenRun(
            study=study,
            vaults=vaults,
            offers=tuple(sorted(offers, key=lambda offer: offer.site)),
            secrets=secrets,
            make_query=make_query,
            keys=dict(federation.keys),
        )

    return opened


@pytest.fixture(scope="session")
def study_for(make_study: Callable[..., Study]) -> Callable[[str], Study]:
    """A study that plans the kind of sum, and every other but for the training's method."""

    def chosen(kind: str) -> Study:
        return make_study(
            local=kind == "local_update", statistics={}, evaluation={"per_site": True}
        )

    return chosen


@pytest.fixture(scope="session")
def release() -> LedgerEntry:
    """A release to be reserved; ``replace`` makes others of it."""
    return LedgerEntry(
        run_id="run",
        study_digest="0" * 64,
        study_name="study",
        query_digest="1" * 64,
        kind="training",
        round=1,
        attempt=1,
        sites=3,
        delta=1e-5,
        holdout=0.2,
        cohorts=("patients",),
        event=GaussianEvent(noise_multiplier=20.0),
        event_alone=GaussianEvent(noise_multiplier=10.0),
    )


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    """Where a ledger shall be, with what a URL would read otherwise in its name."""
    return tmp_path / "a ledger?.sqlite"


@pytest.fixture
def open_ledger(
    federation: Federation, ledger_path: Path
) -> Iterator[Callable[..., DurableLedger]]:
    """Open the ledger of site-0, at ``ledger_path`` or another; all are closed at the end."""
    ledgers: list[DurableLedger] = []

    def opened(path: Path = ledger_path, **options: Any) -> DurableLedger:
        options = {"site": "site-0", "identity": federation.identities["site-0"]} | options
        ledgers.append(DurableLedger(path, **options))
        return ledgers[-1]

    yield opened
    for ledger in ledgers:
        ledger.close()
