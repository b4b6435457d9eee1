"""How a site failed in one exchange, what that means for its charge, and whether it may pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedward.common.protocol.releases import Refusal, RefusalReason

_AFTER_THE_CHARGE = frozenset(
    {
        RefusalReason.INTERNAL,
        RefusalReason.PRIVACY,
        RefusalReason.LEDGER_UNAVAILABLE,
        RefusalReason.ALREADY_ANSWERED,
    }
)
"""Refusals that a vault may make after it charged itself, or because it did so before."""
_MAY_PASS = frozenset(
    {
        RefusalReason.INTERNAL,
        RefusalReason.LEDGER_UNAVAILABLE,
        RefusalReason.ROSTER_TOO_SMALL,
        RefusalReason.SESSION_KEYS,
        RefusalReason.UNKNOWN_SESSION,
    }
)
"""Refusals that a new session may mend: of a vault that was restarted, or when others are back."""


@dataclass(frozen=True, kw_only=True)
class SiteFailure:
    """Why a site has no part in an attempt.

    ``when`` names the exchange. ``charged`` is False only if the site says under its seal that it
    refused beforehand. ``may_pass`` says whether asking again in a new session can help. ``stays``
    is True if the site says that only this attempt was used up before. That is so where a
    coordinator was killed before it could note what it had asked, and may be believed once.
    """

    why: str
    when: str = ""
    charged: bool = True
    may_pass: bool = True
    stays: bool = False

    @classmethod
    def refused(cls, refusal: Refusal) -> SiteFailure:
        """What a sealed refusal means."""
        return cls(
            why=f"refused ({refusal.reason}): {refusal.message}",
            charged=refusal.reason in _AFTER_THE_CHARGE,
            may_pass=refusal.reason in _MAY_PASS,
            stays=refusal.reason == RefusalReason.ALREADY_ANSWERED,
        )

    def at(self, when: str) -> SiteFailure:
        """The same, with the exchange named."""
        return replace(self, when=when)


def told(failures: Mapping[str, SiteFailure]) -> str:
    """Who failed, when and why, to follow upon a sentence; empty if nobody did."""
    parts = [f"{site} in {failure.when}: {failure.why}" for site, failure in failures.items()]
    return f": {'; '.join(sorted(parts))}" if parts else ""
