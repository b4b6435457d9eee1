"""What a vault takes from its site's ``site.toml``: its policy, and the ledger that it opens."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.client.site.site_settings import SiteSettings
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.policy import SitePolicy
from fedward.common.secure_sum.signatures import SiteIdentity


def policy_of(
    settings: SiteSettings,
    *,
    federation_key: bytes,
    known_keys: Mapping[str, bytes],
    minimum_sites: int = 1,
    colluding: int = 0,
    allow_site_evaluation: bool = False,
) -> SitePolicy:
    """The policy with every cap of the settings: of the cohorts, and of studies by themselves.

    What a site file does not say is given here, and means what it does in :class:`SitePolicy`.
    """
    return SitePolicy(
        federation_key=federation_key,
        known_keys=known_keys,
        minimum_sites=minimum_sites,
        colluding=colluding,
        epsilon_cap=settings.study_cap.epsilon_cap,
        epsilon_alone_cap=settings.study_cap.epsilon_alone_cap,
        study_caps=dict(settings.study_caps),
        cohorts=dict(settings.cohorts),
        allow_site_evaluation=allow_site_evaluation,
    )


def open_ledger(settings: SiteSettings, *, identity: SiteIdentity) -> DurableLedger:
    """The site's ledger, with the settings' budgets declared in it; close it to give it back.

    Raises :class:`InputError` as :class:`DurableLedger` does.
    """
    return DurableLedger(
        settings.ledger_file,
        site=settings.name,
        identity=identity,
        cohorts=tuple(settings.cohorts.values()),
    )
