"""The books of one simulated training: each site's ledger, and the log that the coordinator signed.

They are what an audit reads, as real hospitals and a real coordinator would hand them over, and the
keys of all of them besides: here one process plays everybody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from fedward.client.site.site_policy import open_ledger, policy_of
from fedward.client.site.site_settings import IDENTITY_FILE, load_site, write_site_toml
from fedward.client.vault.cohort_budget import DEFAULT_COHORT, CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.policy import StudyCap
from fedward.common.atomic_files import replace_file
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.server.coordinator import OnRound
from fedward.server.errors import CoordinationError
from fedward.server.head_book import MemoryHeads
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_log import write_run_log
from fedward.server.run_options import RunOptions
from fedward.server.training.checkpoints import Checkpoints
from fedward.simulations.credentials import Credentials
from fedward.simulations.federation import Engine, SimulatedRun, SimulatedSite, train
from fedward.simulations.recording_grid import Watcher

BOOKS_NAME: Final = "books"
LOG_NAME: Final = "coordinator.jsonl"
MAX_BOOKED_SITES = 100
"""Each ledger keeps a few files open."""


def why_no_books(engine: str, *, sites: int) -> str | None:
    """Why a simulation can write none, as a sentence; None if it can."""
    if engine != "in-process":
        return f"No books were written: the {engine} engine keeps its hospitals' ledgers elsewhere."
    if sites > MAX_BOOKED_SITES:
        return f"No books were written: there are more than {MAX_BOOKED_SITES} hospitals."
    return None


class Books:
    """A folder of books.

    ``study.json``, ``roster.json`` and ``federation.pub`` are what all sites know, and
    ``coordinator.jsonl`` is the signed log. ``sites/<site>/`` holds a site's ``site.toml`` and
    ``ledger.sqlite``. The private keys, ``coordinator.key`` and ``sites/<site>/identity.key``, are
    files of mode 0600 in hex.
    """

    def __init__(self, path: Path, *, credentials: Credentials) -> None:
        self.path = path
        self._credentials = credentials

    def train(
        self,
        study: Study,
        sites: Sequence[SimulatedSite],
        *,
        engine: Engine,
        options: RunOptions,
        checkpoints: Checkpoints | None = None,
        on_round: OnRound | None = None,
        watcher: Watcher | None = None,
    ) -> SimulatedRun:
        """Train as :func:`~fedward.simulations.federation.train` does, and keep books of it.

        Books that were there are replaced, and ``checkpoints`` must hold nothing. A training that
        comes to no end has a log as far as its checkpoints go.
        """
        heads = MemoryHeads()

        def write_log(records: Sequence[ReleaseRecord]) -> None:
            write_run_log(
                self.path / LOG_NAME,
                run_id=options.run_id,
                study=study,
                signed_roster=options.signed_roster,
                records=records,
                heads=heads.known(),
                coordinator=options.coordinator,
            )

        self._begin(study)
        with self._opened(sites, study) as booked:
            try:
                run = train(
                    study,
                    booked,
                    engine=engine,
                    options=replace(options, heads=heads),
                    checkpoints=checkpoints,
                    on_round=on_round,
                    watcher=watcher,
                )
            except CoordinationError:
                kept = checkpoints.load() if checkpoints else None
                if kept is not None:
                    write_log(kept[1])
                raise
        write_log(run.records)
        return run

    def _begin(self, study: Study) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(mode=0o700, parents=True)
        keys = self._credentials
        _write(self.path / "study.json", study.model_dump_json(indent=1))
        _write(self.path / "roster.json", keys.signed_roster.model_dump_json(indent=1))
        _write(self.path / "federation.pub", keys.federation_key.hex())
        _write_secret(self.path / "coordinator.key", keys.coordinator)

    @contextmanager
    def _opened(
        self, sites: Sequence[SimulatedSite], study: Study
    ) -> Iterator[list[SimulatedSite]]:
        """The same sites, each with a ledger that is closed afterwards."""
        ledgers: list[DurableLedger] = []
        try:
            booked = []
            for site in sites:
                ledger, with_it = self._with_ledger(site, study)
                ledgers.append(ledger)
                booked.append(with_it)
            yield booked
        finally:
            for ledger in ledgers:
                ledger.close()

    def _with_ledger(
        self, site: SimulatedSite, study: Study
    ) -> tuple[DurableLedger, SimulatedSite]:
        folder = self.path / "sites" / site.name
        folder.mkdir(parents=True)
        _write_secret(folder / IDENTITY_FILE, site.identity)
        _write_site_toml(folder / "site.toml", site, study)
        # From here on the file says what the site allows, as at a real one.
        settings = load_site(folder / "site.toml")
        ledger = open_ledger(settings, identity=SiteIdentity.from_private_bytes(site.identity))
        policy = policy_of(
            settings,
            federation_key=site.policy.federation_key,
            known_keys=site.policy.known_keys,
            minimum_sites=site.policy.minimum_sites,
            colluding=site.policy.colluding,
            allow_site_evaluation=site.policy.allow_site_evaluation,
        )
        return ledger, replace(site, policy=policy, ledger=ledger)


def _write_site_toml(path: Path, site: SimulatedSite, study: Study) -> None:
    # The cap is the study's epsilon; what a site's noise gives alone is not capped.
    usual = CohortBudget(
        name=DEFAULT_COHORT, delta=study.privacy.delta, epsilon_cap=study.privacy.epsilon
    )
    policy = site.policy
    write_site_toml(
        path,
        name=site.name,
        cohorts=policy.cohorts.values() or [usual],
        study_cap=StudyCap(
            epsilon_cap=policy.epsilon_cap, epsilon_alone_cap=policy.epsilon_alone_cap
        ),
        study_caps=policy.study_caps,
    )


def _write(path: Path, text: str) -> None:
    replace_file(path, f"{text}\n".encode())


def _write_secret(path: Path, secret: bytes) -> None:
    # Nobody else can read it, not even while it is being written.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret.hex()}\n")
