"""The ledgers of rehearsed sites: in memory, or a hospital's own in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedward.client.vault.cohort_budget import DEFAULT_COHORT, CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry, MemoryLedger
from fedward.common.secure_sum.signatures import SiteIdentity


class RehearsedLedgers:
    """One ledger for each site; durable ones in ``folder`` if there is one.

    Raises InputError for a file that cannot be made.
    """

    def __init__(
        self, identities: Mapping[str, SiteIdentity], *, folder: Path | None, delta: float
    ) -> None:
        self._identities = identities
        self._folder = folder
        self._budget = CohortBudget(name=DEFAULT_COHORT, delta=delta, epsilon_cap=None)
        self._on_disk: dict[str, tuple[LedgerEntry, ...]] = {}
        self._open: dict[str, MemoryLedger | DurableLedger] = {}
        try:
            for site in identities:
                self._open[site] = MemoryLedger() if folder is None else self._durable(site, folder)
        except BaseException:
            self._give_back()
            raise

    def __getitem__(self, site: str) -> MemoryLedger | DurableLedger:
        return self._open[site]

    def entries(self, site: str) -> tuple[LedgerEntry, ...]:
        """Every release that the site was charged; once closed, as the file says."""
        return self._on_disk[site] if site in self._on_disk else self._open[site].entries()

    def close(self) -> None:
        """Close durable ledgers and read them from their files again; others need no closing.

        Raises InputError if a chain of entries does not verify.
        """
        self._give_back()
        if self._folder is None:
            return
        for site in self._identities:
            again = self._durable(site, self._folder)
            try:
                self._on_disk[site] = again.entries()
            finally:
                again.close()

    def _durable(self, site: str, folder: Path) -> DurableLedger:
        identity = self._identities[site]
        path = folder / f"{site}.sqlite"
        return DurableLedger(path, site=site, identity=identity, cohorts=(self._budget,))

    def _give_back(self) -> None:
        for ledger in self._open.values():
            if isinstance(ledger, DurableLedger):
                ledger.close()
