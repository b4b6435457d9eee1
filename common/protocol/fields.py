"""Field types that every message shares: names, digests, keys and signatures in hex."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PROTOCOL = 3
ProtocolNumber = Annotated[int, Field(ge=PROTOCOL, le=PROTOCOL)]
SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Ed25519 or X25519, 32 bytes in hex."""
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
"""Ed25519, 64 bytes in hex."""
SessionNumber = Annotated[int, Field(ge=1, le=10**6)]
MAX_SITES = 10_000


class Wire(BaseModel):
    """Base of what crosses between coordinator and vault."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
