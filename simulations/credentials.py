"""The keys of a simulated federation: its own, the coordinator's, each site's, and the roster.

In a real federation the federation key is kept offline, each identity is made at its hospital and
never leaves it, the coordinator's stays with the coordinator, and the signed roster is handed out
once. Here one process makes them all, anew for each training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from fedward.common.privacy.random_source import RandomSource
from fedward.common.secure_sum.roster import Roster, SignedRoster, sign_roster
from fedward.common.secure_sum.signatures import SiteIdentity

FEDERATION = "simulation"
KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """All keys of one training; those that are private are shown nowhere."""

    signed_roster: SignedRoster
    federation_key: bytes
    identities: Mapping[str, bytes] = field(repr=False)
    """Private Ed25519 keys by site, 32 bytes each."""
    coordinator: bytes = field(repr=False)
    """The coordinator's private Ed25519 key, 32 bytes."""

    @classmethod
    def issue(cls, sites: Iterable[str], *, run_id: str, randomness: RandomSource) -> Self:
        """Make the keys of a run's sites and sign their roster.

        An insecure source gives the same keys for the same run and sites.
        """

        def private_key(holder: str) -> bytes:
            stream = randomness.stream(
                purpose="simulated-credentials", context=f"{run_id}\0{holder}".encode()
            )
            return stream.uint64(KEY_BYTES // 8).tobytes()

        # No site is named like these: names begin with a letter or a digit.
        federation = SiteIdentity.from_private_bytes(private_key("/federation"))
        coordinator = private_key("/coordinator")
        identities = {site: private_key(site) for site in sorted(sites)}
        roster = Roster.of(
            {
                site: SiteIdentity.from_private_bytes(key).public_key
                for site, key in identities.items()
            },
            federation=FEDERATION,
            coordinator_key=SiteIdentity.from_private_bytes(coordinator).public_key,
        )
        return cls(
            signed_roster=sign_roster(roster, federation),
            federation_key=federation.public_key,
            coordinator=coordinator,
            identities=identities,
        )

    @property
    def known_keys(self) -> dict[str, bytes]:
        """Every site's public key, as a hospital's policy pins them."""
        roster = self.signed_roster.roster
        return {site: roster.key_of(site) for site in roster.names}
