"""A simulated federation: real vaults over real cohorts, run by any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from flwr.serverapp import ServerApp

from fedward.client.cohort import Cohort
from fedward.client.vault.gate import SitePolicy
from fedward.client.vault.ledger import LedgerEntry, MemoryLedger
from fedward.client.vault.protection import Protection
from fedward.client.vault.vault import Vault
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.releases import ExecutedNoise
from fedward.common.secure_sum.masks import NoMasks
from fedward.common.study.definition import Study
from fedward.server.coordinator import CompletedRun, OnRound, RunOptions
from fedward.server.server_app import make_server_app
from fedward.server.sum_rounds import CoordinationError, ReleaseRecord
from fedward.server.training.checkpoints import Checkpoints


@dataclass(frozen=True, kw_only=True)
class SimulatedSite:
    """The recipe of one site's vault; any process can build the vault from it.

    ``insecure_noise_seed`` makes noise and batches reproducible, and the guarantee void; None is
    the operating system's randomness. ``entries`` is what its ledger held before.
    """

    name: str
    cohort: Cohort
    study: Study
    protection: Protection
    policy: SitePolicy
    insecure_noise_seed: int | None
    entries: tuple[LedgerEntry, ...] = ()

    def vault(self) -> Vault:
        """Build the vault."""
        seed = self.insecure_noise_seed
        return Vault(
            site=self.name,
            cohort=self.cohort,
            studies={self.study.digest: self.study},
            policy=self.policy,
            ledger=MemoryLedger(self.entries),
            protection=self.protection,
            masks=NoMasks(),
            randomness=RandomSource.from_os() if seed is None else RandomSource.insecure(seed),
        )


class Engine(Protocol):
    """Runs one ServerApp against the vaults of a federation."""

    name: str

    def run(self, server_app: ServerApp, sites: Sequence[SimulatedSite]) -> None:
        """Run the app to its end; raises what it raises."""

    def close(self) -> None:
        """Give back processes and memory."""


def train(
    study: Study,
    sites: Sequence[SimulatedSite],
    *,
    engine: Engine,
    options: RunOptions,
    checkpoints: Checkpoints | None = None,
    on_round: OnRound | None = None,
) -> CompletedRun:
    """Train the study's model over the sites; resumes from ``checkpoints``, ledgers included.

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
    engine.run(app, sites)
    if not completed:
        raise CoordinationError(f"the {engine.name} engine ended without a result")
    return completed[0]


def executed_events(
    records: Sequence[ReleaseRecord], *, site: str
) -> tuple[list[GaussianEvent], list[GaussianEvent]]:
    """Events of one site's releases: of the whole sum, and of this site's share alone."""
    pairs = [_events(record.executed) for record in records if record.site == site]
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
    entries = tuple(
        LedgerEntry(
            run_id=run_id,
            study_digest=site.study.digest,
            query_digest=record.query_digest,
            kind="moments" if record.kind == "moments" else "training",
            round=record.round,
            attempt=record.attempt,
            event=_events(record.executed)[0],
            event_alone=_events(record.executed)[1],
            release_digest=record.release_digest,
        )
        for record in records
        if record.site == site.name
    )
    return replace(site, entries=entries)
