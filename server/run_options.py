"""What a run adds to its study."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.common.privacy.budget import RunBudget
from fedward.common.secure_sum.roster import SignedRoster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.head_book import HeadBook


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run adds to its study; nothing here weakens what the vaults protect.

    ``signed_roster`` names the sites and their keys; it must be signed by ``federation_key``
    (Ed25519, 32 bytes), None to leave that check to the sites. A sum is over ``minimum_sites`` at
    least (None: as the study says). The run begins once ``expected_sites`` opened a session (None:
    all of the roster). ``budget`` says when the study's budget is spent; None if nothing is
    charged. ``timeout`` is in seconds for one exchange, None waits for ever. Sites that were lost
    are asked back ``rejoin_after`` sums after the session began. ``poll_seconds`` is the first
    pause between two looks for replies; see :class:`~fedward.server.exchange.Exchange`.
    ``coordinator`` is the key pair that the roster names as the coordinator's, None if it names
    none. ``heads`` is where the heads of the sites' ledgers are kept, None for this run alone.
    """

    run_id: str
    signed_roster: SignedRoster
    federation_key: bytes | None = None
    minimum_sites: int | None = None
    expected_sites: int | None = None
    budget: RunBudget | None = None
    model_seed: int = 0
    timeout: float | None = None
    rejoin_after: int = 5
    poll_seconds: float = 0.05
    coordinator: SiteIdentity | None = None
    heads: HeadBook | None = None
