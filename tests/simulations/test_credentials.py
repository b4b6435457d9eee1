from __future__ import annotations

import pytest

from fedward.common.privacy.random_source import RandomSource
from fedward.common.secure_sum.roster import RosterError, checked_roster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.simulations.credentials import Credentials

SITES = ("west", "all", "North_1.b")


def issued(
    run_id: str = "run", *, seed: int | None = 3, sites: tuple[str, ...] = SITES
) -> Credentials:
    source = RandomSource.from_os() if seed is None else RandomSource.insecure(seed)
    return Credentials.issue(sites, run_id=run_id, randomness=source)


def test_the_roster_is_signed_and_holds_each_sites_key() -> None:
    credentials = issued()
    roster = checked_roster(credentials.signed_roster, federation_key=credentials.federation_key)

    assert roster.names == tuple(sorted(SITES))
    for site, private in credentials.identities.items():
        assert SiteIdentity.from_private_bytes(private).public_key == roster.key_of(site)
        assert credentials.known_keys[site] == roster.key_of(site)
    coordinator = SiteIdentity.from_private_bytes(credentials.coordinator)
    assert roster.coordinator_key == coordinator.public_key.hex()
    with pytest.raises(RosterError, match="not signed"):
        checked_roster(credentials.signed_roster, federation_key=issued("other").federation_key)


def test_a_seed_gives_the_same_keys_and_runs_and_sites_different_ones() -> None:
    assert issued() == issued(sites=SITES[::-1])
    keys = [
        key
        for credentials in (issued(), issued("other"), issued(seed=4), issued(seed=None))
        for key in (
            *credentials.identities.values(),
            credentials.federation_key,
            credentials.coordinator,
        )
    ]
    assert len(set(keys)) == len(keys)
    assert issued(seed=None).identities != issued(seed=None).identities


def test_private_keys_are_not_shown() -> None:
    credentials = issued()
    for private in (*credentials.identities.values(), credentials.coordinator):
        assert repr(private) not in repr(credentials)
        assert private.hex() not in repr(credentials)
