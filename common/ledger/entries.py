"""The entries of a site's ledger: everything that is ever written into one.

A ledger is one chain of entries for all cohorts, studies and runs of a site. Each entry names the
digest of the one before, so that none can be changed, left out or moved without it being seen.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, field_validator

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.fields import (
    MAX_SITES,
    Digest,
    PublicKey,
    RunId,
    Signature,
    SiteName,
    Wire,
)

LEDGER_FORMAT = 2
MOST_COUNTED = 10**9
"""Sums in one release; local training does at most 10^7 steps in a whole study."""
LEAST_NOISE, MOST_NOISE = 1e-3, 1e9
"""Noise multipliers of a release. A share over 10,000 sites at epsilon 50 is 0.0015, and epsilon
0.0001 over 100,000 rounds takes some 10^7."""
_MOST = 2**53
"""Whole numbers below it are told apart by every reader of JSON."""


def _real_time(text: str) -> str:
    datetime.fromisoformat(text)  # ValueError for the 30th of February, or 25 o'clock
    return text


CohortName = SiteName
LedgerId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sequence = Annotated[int, Field(ge=0, lt=2**53)]
Time = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_real_time),
]
"""UTC, to the second, in ASCII digits; a date that there is."""
Epsilon = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Cap = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
Delta = Annotated[float, Field(gt=0, lt=1)]
Reason = Annotated[str, Field(min_length=1, max_length=1000)]
NOTHING_BEFORE = "0" * 64
"""``previous`` of a ledger's first entry."""


class ChargedEvent(Wire):
    """A Gaussian event as an entry holds it; see :class:`GaussianEvent` for its units."""

    noise_multiplier: float = Field(ge=LEAST_NOISE, le=MOST_NOISE, allow_inf_nan=False)
    sampling_rate: float = Field(gt=0, le=1)
    count: int = Field(ge=1, le=MOST_COUNTED)

    @classmethod
    def of(cls, event: GaussianEvent) -> ChargedEvent:
        """The same event, to be written. Raises :class:`PrivacyRefusal` if it is out of bounds."""
        try:
            return cls(
                noise_multiplier=event.noise_multiplier,
                sampling_rate=event.sampling_rate,
                count=event.count,
            )
        except ValidationError as error:
            raise PrivacyRefusal(
                f"{event.count} sums with noise multiplier {event.noise_multiplier:g} cannot be "
                f"charged: a ledger holds noise from {LEAST_NOISE:g} to {MOST_NOISE:g}, and at "
                f"most {MOST_COUNTED:g} sums at once."
            ) from error

    def event(self) -> GaussianEvent:
        """The event to account for."""
        return GaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            count=self.count,
        )


class _Entry(Wire):
    """Its place in the chain, and what the site's clock showed.

    ``behind`` is by how many seconds that was before the entry ahead of it, 0 if it was not;
    ``time`` never goes back.
    """

    sequence: Sequence
    previous: Digest
    time: Time
    behind: int = Field(default=0, ge=0, lt=_MOST)


class LedgerOpened(_Entry):
    """The first entry: whose ledger it is. ``ledger_id`` is random, so that no two are alike."""

    kind: Literal["opened"] = "opened"
    format: Literal[2] = 2
    site: SiteName
    identity_key: PublicKey
    ledger_id: LedgerId
    software: str = Field(max_length=100)


class CohortDeclared(_Entry):
    """A cohort and its budget: both epsilons of any one of its patients, over all studies.

    A patient may be in the cohorts that ``shares_patients_with`` names as well, so what is charged
    to one of them is charged to the others too; it holds in both directions. A later declaration of
    a cohort may add to that list and lower its caps, nothing else. None is no cap.
    """

    kind: Literal["cohort_declared"] = "cohort_declared"
    cohort: CohortName
    delta: Delta
    epsilon_cap: Cap
    epsilon_alone_cap: Cap
    shares_patients_with: tuple[CohortName, ...] = Field(strict=False)


class BudgetRaised(_Entry):
    """New caps of a cohort, at least one of them above the old, and why."""

    kind: Literal["budget_raised"] = "budget_raised"
    cohort: CohortName
    epsilon_cap: Cap
    epsilon_alone_cap: Cap
    reason: Reason


class ReleaseReserved(_Entry):
    """A release that counts as spent from here on, whatever becomes of it.

    ``cohorts`` are those charged: first the one whose patients were asked, then those that share
    patients with it, sorted. ``sum`` says by :data:`~fedward.common.privacy.sum_plan.PART_OF` which
    of the patients it is over, ``holdout`` what share of them the study holds out, and ``sites``
    how many were in the sum's roster. ``delta`` is the study's. ``event`` is charged under "at most
    ``colluding`` sites cheat", ``event_alone`` for this site's share of the noise alone;
    ``epsilon`` and ``epsilon_alone`` are what each costs by itself at ``delta``. All four are None
    in a simulation's baseline without privacy.
    """

    kind: Literal["reserved"] = "reserved"
    run_id: RunId
    study_digest: Digest
    study_name: SiteName
    query_digest: Digest
    sum: SumKind
    round: int = Field(ge=0, lt=_MOST)
    attempt: int = Field(ge=1, lt=_MOST)
    sites: int = Field(ge=1, le=MAX_SITES)
    delta: Delta
    holdout: float = Field(ge=0, le=1)
    cohorts: tuple[CohortName, ...] = Field(min_length=1, strict=False)
    event: ChargedEvent | None
    event_alone: ChargedEvent | None
    epsilon: Epsilon | None
    epsilon_alone: Epsilon | None

    @field_validator("cohorts")
    @classmethod
    def _once_and_sorted(cls, cohorts: tuple[str, ...]) -> tuple[str, ...]:
        if cohorts[0] in cohorts[1:] or list(cohorts[1:]) != sorted(set(cohorts[1:])):
            raise ValueError("cohorts: the one that was asked, then the others, sorted, each once")
        return cohorts


class ReleaseCommitted(_Entry):
    """The reservation ``of`` became the sealed frame with this digest, which may have left."""

    kind: Literal["committed"] = "committed"
    of: Sequence
    release_digest: Digest


class ReleaseAbandoned(_Entry):
    """The reservation ``of`` came to nothing, and why; it stays spent."""

    kind: Literal["abandoned"] = "abandoned"
    of: Sequence
    reason: Reason


class HeadCountersigned(_Entry):
    """The coordinator has seen this ledger up to ``head_sequence``, and says so under its key."""

    kind: Literal["countersigned"] = "countersigned"
    run_id: RunId
    head_sequence: Sequence
    head_digest: Digest
    coordinator_key: PublicKey
    signature: Signature


class BalanceStruck(_Entry):
    """What has been spent so far: of one cohort by one study, and of that cohort by all studies.

    ``epsilon`` and ``epsilon_alone`` are at the study's delta, those of the cohort at its own.
    """

    kind: Literal["balance"] = "balance"
    cohort: CohortName
    study_digest: Digest
    epsilon: Epsilon
    epsilon_alone: Epsilon
    cohort_epsilon: Epsilon
    cohort_epsilon_alone: Epsilon


Entry = Annotated[
    LedgerOpened
    | CohortDeclared
    | BudgetRaised
    | ReleaseReserved
    | ReleaseCommitted
    | ReleaseAbandoned
    | HeadCountersigned
    | BalanceStruck,
    Field(discriminator="kind"),
]
ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
