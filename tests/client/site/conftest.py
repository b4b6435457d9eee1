"""A site with its files on the disk, and a ledger that real releases were charged to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedward.client.site.site_settings import IDENTITY_FILE, LEDGER_FILE, write_site_toml
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry
from fedward.common.privacy.events import GaussianEvent
from fedward.common.secure_sum.signatures import SiteIdentity

NAME = "north"
CARDIOLOGY = CohortBudget(name="cardiology", delta=1e-5, epsilon_cap=2.0, epsilon_alone_cap=8.0)
HOSPITAL = CohortBudget(
    name="hospital", delta=1e-5, epsilon_cap=3.0, shares_patients_with=("cardiology",)
)
RELEASE = LedgerEntry(
    run_id="run",
    study_digest="a" * 64,
    study_name="strokes",
    query_digest="1" * 64,
    kind="training",
    round=1,
    attempt=1,
    sites=4,
    delta=1e-6,
    holdout=0.2,
    cohorts=("cardiology", "hospital"),
    event=GaussianEvent(noise_multiplier=20.0),
    event_alone=GaussianEvent(noise_multiplier=10.0),
)


@dataclass
class Clock:
    """Shows what it was set to, a minute later each time."""

    now: datetime = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@dataclass
class SiteOnDisk:
    folder: Path
    identity: SiteIdentity = field(default_factory=SiteIdentity.generate)
    clock: Clock = field(default_factory=Clock)

    @property
    def toml(self) -> Path:
        return self.folder / "site.toml"

    @property
    def ledger_file(self) -> Path:
        return self.folder / LEDGER_FILE

    def write(self, *cohorts: CohortBudget) -> None:
        write_site_toml(self.toml, name=NAME, cohorts=cohorts)
        key = self.folder / IDENTITY_FILE
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(self.identity.private_bytes().hex() + "\n")

    def opened(self, *cohorts: CohortBudget) -> DurableLedger:
        return DurableLedger(
            self.ledger_file,
            site=NAME,
            identity=self.identity,
            cohorts=cohorts or None,
            clock=self.clock,
        )

    def charge(self, ledger: DurableLedger, releases: Iterable[LedgerEntry]) -> None:
        """Reserve and commit."""
        for release in releases:
            ledger.reserve(release)
            ledger.commit(release.place, release_digest="2" * 64)


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[[], SiteOnDisk]:
    """A site with a site.toml and a key, whose ledger no vault has opened yet."""

    def make() -> SiteOnDisk:
        site = SiteOnDisk(tmp_path)
        site.write(CARDIOLOGY, HOSPITAL)
        return site

    return make


@pytest.fixture
def site(new_site: Callable[[], SiteOnDisk]) -> SiteOnDisk:
    """Two studies over two cohorts: committed releases, one given up, one cut short."""
    site = new_site()
    ledger = site.opened(CARDIOLOGY, HOSPITAL)
    site.charge(ledger, (replace(RELEASE, round=number) for number in (1, 2, 3)))
    evaluation = replace(
        RELEASE, run_id="second", study_digest="b" * 64, study_name="sepsis", delta=1e-5
    )
    evaluation = replace(evaluation, cohorts=("hospital", "cardiology"))
    site.charge(ledger, [evaluation])
    ledger.reserve(replace(evaluation, round=2))
    ledger.abandon(("second", 2, 1), reason="a test")
    ledger.reserve(replace(evaluation, round=3))
    ledger.close()
    return site
