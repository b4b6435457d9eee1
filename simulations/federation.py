"""A simulated federation: real vaults over real cohorts, run by any engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

from flwr.serverapp import ServerApp

from fedward.client.cohort import Cohort
from fedward.client.vault.cohort_budget import DEFAULT_COHORT
from fedward.client.vault.ledger import Ledger, LedgerEntry, MemoryLedger
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import Protection
from fedward.client.vault.session_desk import SessionDesk
from fedward.client.vault.timings import VaultTimings
from fedward.client.vault.vault import Vault
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import PART_OF, Part
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.releases import ExecutedNoise
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun, OnRound
from fedward.server.errors import CoordinationError
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_options import RunOptions
from fedward.server.server_app import make_server_app
from fedward.server.training.checkpoints import Checkpoints
from fedward.simulations.drop_outs import DropOuts, SimulatedVault, UnreliableVault
from fedward.simulations.recording_grid import Watcher, watched
from fedward.simulations.unmasked import UnmaskedDesk


@dataclass(frozen=True, kw_only=True)
class SimulatedSite:
    """The recipe of one site's vault; without ``ledger``, any process can build the vault.

    ``identity`` is the site's private key, 32 bytes. ``insecure_noise_seed`` makes noise, batches
    and session keys reproducible, and the guarantee void; None is the operating system's
    randomness. ``masked`` False leaves the masks out, and ``drop_outs`` says when the site fails.
    ``ledger`` belongs to whoever opened it, in this process; None is a new one in memory, which
    holds ``entries`` from before.
    """

    name: str
    identity: bytes = field(repr=False)
    cohort: Cohort
    held_out: Cohort | None
    study: Study
    protection: Protection
    policy: SitePolicy
    insecure_noise_seed: int | None
    masked: bool = True
    drop_outs: DropOuts | None = None
    entries: tuple[LedgerEntry, ...] = ()
    ledger: Ledger | None = None

    def vault(self) -> SimulatedVault:
        """Build the vault."""
        seed = self.insecure_noise_seed
        identity = SiteIdentity.from_private_bytes(self.identity)
        randomness = RandomSource.from_os() if seed is None else RandomSource.insecure(seed)
        desk = SessionDesk if self.masked else UnmaskedDesk
        vault = Vault(
            site=self.name,
            identity=identity,
            cohort=self.cohort,
            held_out=self.held_out,
            studies={self.study.digest: self.study},
            policy=self.policy,
            ledger=MemoryLedger(self.entries) if self.ledger is None else self.ledger,
            protection=self.protection,
            randomness=randomness,
            sessions=desk(
                site=self.name, identity=identity, policy=self.policy, randomness=randomness
            ),
        )
        if self.drop_outs is None:
            return vault
        return UnreliableVault(vault, site=self.name, drop_outs=self.drop_outs)


class Engine(Protocol):
    """Runs one ServerApp against the vaults of a federation."""

    name: str

    def run(
        self, server_app: ServerApp, sites: Sequence[SimulatedSite]
    ) -> tuple[VaultTimings, ...] | None:
        """Run the app to its end; raises what it raises.

        Returns where each vault's time went, or None where vaults live elsewhere.
        """

    def close(self) -> None:
        """Give back processes and memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedRun(CompletedRun):
    """A run, and where the time of its vaults went in this process; None if that is not known."""

    timings: tuple[VaultTimings, ...] | None


def train(
    study: Study,
    sites: Sequence[SimulatedSite],
    *,
    engine: Engine,
    options: RunOptions,
    checkpoints: Checkpoints | None = None,
    on_round: OnRound | None = None,
    watcher: Watcher | None = None,
) -> SimulatedRun:
    """Train the study's model over the sites; resumes from ``checkpoints``, ledgers included.

    ``watcher`` is shown every message between coordinator and sites.

    Raises:
        CoordinationError: as :func:`coordinate` does, or the engine gave no result.
        InputError: the checkpoint is damaged, or a site's cohort cannot take part.
    """
    resumed = checkpoints.load() if checkpoints else None
    if resumed:
        sites = [_with_ledger(site, resumed[1], run_id=options.run_id) for site in sites]
    completed: list[CompletedRun] = []
    app = make_server_app(
        study,
        options=options,
        on_completed=completed.append,
        checkpoints=checkpoints,
        on_round=on_round,
    )
    timings = engine.run(app if watcher is None else watched(app, watcher), sites)
    if not completed:
        raise CoordinationError(f"the {engine.name} engine ended without a result")
    known = {one.name: getattr(completed[0], one.name) for one in fields(completed[0])}
    return SimulatedRun(**known, timings=timings)


def executed_events(
    records: Sequence[ReleaseRecord], *, site: str, part: Part
) -> tuple[list[GaussianEvent], list[GaussianEvent]]:
    """What one part of a site's patients was charged: at the sum's noise, and at the share's alone.

    Attempts that came to nothing are in it, and answers that may have been lost on the way.
    """
    pairs = [
        _events(record.executed)
        for record in records
        if record.site == site and record.charged and PART_OF[record.kind] == part
    ]
    return [whole for whole, _ in pairs if whole], [alone for _, alone in pairs if alone]


def _events(noise: ExecutedNoise | None) -> tuple[GaussianEvent | None, GaussianEvent | None]:
    if noise is None:
        return None, None
    whole, alone = (
        GaussianEvent(
            noise_multiplier=multiplier, sampling_rate=noise.sampling_rate, count=noise.count
        )
        for multiplier in (noise.noise_multiplier, noise.share_multiplier)
    )
    return whole, alone


def _with_ledger(
    site: SimulatedSite, records: Sequence[ReleaseRecord], *, run_id: str
) -> SimulatedSite:
    asked = Counter(record.query_digest for record in records)
    study = site.study
    entries = tuple(
        LedgerEntry(
            run_id=run_id,
            study_digest=study.digest,
            study_name=study.about.name,
            query_digest=record.query_digest,
            kind=record.kind,
            round=record.round,
            attempt=record.attempt,
            sites=asked[record.query_digest],
            delta=study.privacy.delta,
            holdout=study.evaluation.holdout,
            cohorts=(DEFAULT_COHORT,),
            event=_events(record.executed)[0],
            event_alone=_events(record.executed)[1],
            release_digest=record.release_digest,
        )
        for record in records
        if record.site == site.name and record.charged
    )
    return replace(site, entries=entries)
