"""The signed list of a federation's sites and the keys by which they know each other."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping
from typing import Self

from pydantic import Field, field_validator, model_validator

from fedward.common.protocol.fields import MAX_SITES, PublicKey, Signature, SiteName, Wire
from fedward.common.secure_sum.signatures import SecureSumError, SiteIdentity, verify

_PURPOSE = "roster"


class RosterError(SecureSumError):
    """A roster that its federation did not sign, or a site that is not in it."""


class RosterSite(Wire):
    """One site and its Ed25519 public key."""

    site: SiteName
    identity_key: PublicKey


class Roster(Wire):
    """All sites of a federation, sorted by name, so that one set of sites has one digest.

    ``serial`` grows by one with every change. No name and no key occurs twice: a site counts once.
    ``coordinator_key`` is the Ed25519 key by which the coordinator counter-signs the heads of the
    sites' ledgers and signs its log; it is no site's own. None is a coordinator that signs nothing.
    """

    federation: str = Field(min_length=1, max_length=100)
    serial: int = Field(ge=1, le=10**9)
    sites: tuple[RosterSite, ...] = Field(min_length=1, max_length=MAX_SITES, strict=False)
    coordinator_key: PublicKey | None = None

    @field_validator("sites")
    @classmethod
    def _sorted_and_unique(cls, sites: tuple[RosterSite, ...]) -> tuple[RosterSite, ...]:
        names = [entry.site for entry in sites]
        if len(set(names)) < len(names):
            raise ValueError("a site in the roster twice")
        if len({entry.identity_key for entry in sites}) < len(sites):
            raise ValueError("an identity key in the roster twice")
        if names != sorted(names):
            raise ValueError("the roster's sites must be sorted by name")
        return sites

    @model_validator(mode="after")
    def _coordinator_is_no_site(self) -> Self:
        if any(entry.identity_key == self.coordinator_key for entry in self.sites):
            raise ValueError("the coordinator's key is a site's own")
        return self

    @classmethod
    def of(
        cls,
        keys: Mapping[str, bytes],
        *,
        federation: str,
        serial: int = 1,
        coordinator_key: bytes | None = None,
    ) -> Self:
        """The roster of these sites' public keys (32 bytes each), in the roster's order."""
        sites = (RosterSite(site=site, identity_key=key.hex()) for site, key in keys.items())
        ordered = tuple(sorted(sites, key=_name))
        return cls(
            federation=federation,
            serial=serial,
            sites=ordered,
            coordinator_key=None if coordinator_key is None else coordinator_key.hex(),
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its canonical JSON: sorted keys, no spaces, UTF-8."""
        text = json.dumps(
            self.model_dump(mode="json"),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """The sites' names, sorted."""
        return tuple(entry.site for entry in self.sites)

    def key_of(self, site: str) -> bytes:
        """A site's Ed25519 public key, 32 bytes; :class:`RosterError` if it is not in here."""
        place = bisect_left(self.sites, site, key=_name)
        if place == len(self.sites) or self.sites[place].site != site:
            raise RosterError(f"site {site!r} is not in the roster of {self.federation}")
        return bytes.fromhex(self.sites[place].identity_key)


class SignedRoster(Wire):
    """A roster with the federation's signature; worth nothing before :func:`checked_roster`."""

    roster: Roster
    signature: Signature


def sign_roster(roster: Roster, federation: SiteIdentity) -> SignedRoster:
    """Sign with the federation's identity."""
    signature = federation.sign(_PURPOSE, bytes.fromhex(roster.digest))
    return SignedRoster(roster=roster, signature=signature.hex())


def checked_roster(signed: SignedRoster, *, federation_key: bytes) -> Roster:
    """The roster, once the signature of the pinned federation key (32 bytes) is checked.

    Raises :class:`RosterError` if any other key signed it, or if it was changed since.
    """
    if not verify(
        federation_key,
        purpose=_PURPOSE,
        message=bytes.fromhex(signed.roster.digest),
        signature=bytes.fromhex(signed.signature),
    ):
        raise RosterError(
            f"the roster of {signed.roster.federation} (serial {signed.roster.serial}) is not "
            "signed by the federation's key"
        )
    return signed.roster


def _name(entry: RosterSite) -> str:
    return entry.site
