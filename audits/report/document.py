"""What ``report.json`` says: the facts, not the words and pictures that the page makes of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedward.audits.attacks.result import AttackAudit
from fedward.audits.books.result import AuditedLedger
from fedward.audits.empirical.result import EmpiricalAudit
from fedward.audits.findings import AuditModel, CheckResult
from fedward.common.ledger.entries import ChargedEvent, LedgerId, Time
from fedward.common.privacy.sum_plan import SumKind, Trust
from fedward.common.protocol.fields import Digest, PublicKey, SiteName

Count = Annotated[int, Field(ge=0)]
FiniteEpsilon = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StudyFacts(AuditModel):
    """What the hospitals had agreed on. ``epsilon`` is what the study promises, at ``delta``."""

    name: str
    title: str
    description: str
    digest: Digest
    epsilon: FiniteEpsilon
    delta: Annotated[float, Field(gt=0, lt=1)]
    clip: float
    trust: Trust
    colluding: Count
    minimum_sites: Count
    holdout: float


class RunFacts(AuditModel):
    """One run of the study: what is known of how it was made.

    ``masked`` is None where no record of the coordinator's tells. ``insecure_noise_seed`` is not
    None if the noise can be made again, which voids every guarantee. ``simulated`` says that all
    hospitals were one process. ``federation_key`` is the one in the run's folder, or the one
    that the auditor was given from elsewhere (``federation_key_given``). ``sites`` are all
    that the run's roster or the coordinator's log name,
    sorted; empty where neither could be read.
    """

    name: str
    made: Time
    masked: bool | None
    federation_key: PublicKey | None
    simulated: bool
    insecure_noise_seed: int | None
    federation_key_given: bool = False
    sites: tuple[SiteName, ...] = ()


class ChargeLine(AuditModel):
    """Equal releases of one study: how many, and what each of them is charged as.

    ``releases`` counts reservations, and all of them are charged; ``committed`` of them may have
    left the hospital, ``abandoned`` came to nothing. ``event`` is charged under "at most
    ``colluding`` sites cheat", ``event_alone`` if all others do; both are None without privacy.
    """

    study_name: str
    study_digest: Digest
    holdout: Annotated[float, Field(ge=0, le=1)]
    sum: SumKind
    event: ChargedEvent | None
    event_alone: ChargedEvent | None
    releases: Annotated[int, Field(ge=1)]
    committed: Count
    abandoned: Count


class Moment(AuditModel):
    """What had been spent when an entry was written: ``releases`` so far of each charge line.

    ``sequence`` is the entry's place in the ledger, ``time`` its time in UTC.
    """

    sequence: Count
    time: Time
    releases: tuple[Count, ...]
    epsilon: FiniteEpsilon | None
    epsilon_alone: FiniteEpsilon | None


class Account(AuditModel):
    """What any one patient has spent: in a study, or as one of a cohort, over all its studies.

    Both epsilons are those at the last of the ``moments``, at ``delta``; None if anything was
    released without noise. Caps are None for a study, and for a cohort without a cap;
    ``study_digest`` is None for a cohort.
    """

    kind: Literal["study", "cohort"]
    name: str
    study_digest: Digest | None = None
    delta: Annotated[float, Field(gt=0, lt=1)]
    epsilon_cap: FiniteEpsilon | None = None
    epsilon_alone_cap: FiniteEpsilon | None = None
    shares_patients_with: tuple[str, ...] = ()
    charges: tuple[ChargeLine, ...]
    moments: tuple[Moment, ...]
    epsilon: FiniteEpsilon | None
    epsilon_alone: FiniteEpsilon | None


class SiteBooks(AuditModel):
    """One hospital's ledger in short. ``clock_went_back`` counts entries that say so."""

    site: SiteName
    ledger_id: LedgerId
    entries: Annotated[int, Field(ge=1)]
    first: Time
    last: Time
    clock_went_back: Count
    accounts: tuple[Account, ...]

    def of_study(self, digest: str) -> Account | None:
        """The account of this study; None if nothing was released for it."""
        found = (account for account in self.accounts if account.study_digest == digest)
        return next(found, None)


class Trusted(AuditModel):
    """Who is relied upon, for what, and what would happen if that were wrong."""

    who: str
    trusted_for: str
    otherwise: str


class Evidence(AuditModel):
    """One input of the report. ``path`` is relative to the run's folder.

    Of a file, ``sha256`` is that of its bytes. Of a ledger, which grows and whose file is rewritten
    when it is opened, it is that of its first ``entries`` entries: canonical texts under their
    signatures, each with a line feed.
    """

    path: str
    kind: Literal["file", "ledger"]
    entries: Count | None = None
    sha256: Digest


class AuditReport(AuditModel):
    """The body of ``report.json``.

    ``ledgers`` has the last epsilons of ``sites`` once more, each by three accountants.
    """

    study: StudyFacts
    run: RunFacts
    sites: tuple[SiteBooks, ...]
    ledgers: tuple[AuditedLedger, ...]
    checks: tuple[CheckResult, ...]
    empirical: EmpiricalAudit | None
    attacks: AttackAudit | None
    trusted: tuple[Trusted, ...]
    evidence: tuple[Evidence, ...]
    versions: dict[str, str]
    notes: tuple[str, ...]
    fresh_key: bool
    """Whether the auditor's key was made for this report, so that nobody can know it yet."""
    records_shown: bool = True
    """Whether the records that attacks were tried on are part of it."""

    @property
    def all_checks(self) -> tuple[CheckResult, ...]:
        """Those of the books, and the meters of the empirical audit that apply to this study."""
        return self.checks + tuple(check for check in self._meters if check.passed is not None)

    @property
    def not_applicable(self) -> tuple[CheckResult, ...]:
        """Meters that say nothing about a study like this one."""
        return tuple(check for check in self._meters if check.passed is None)

    @property
    def _meters(self) -> tuple[CheckResult, ...]:
        return tuple(meter.check for meter in (self.empirical.meters if self.empirical else ()))

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(check for check in self.all_checks if check.passed is False)

    @property
    def without_ledger(self) -> tuple[str, ...]:
        """Sites of the run of which this report knows no ledger, sorted."""
        seen = {site.site for site in self.sites}
        return tuple(site for site in self.run.sites if site not in seen)

    @property
    def worked(self) -> tuple[str, ...]:
        """The titles of the attacks that worked against what is released."""
        attacks = self.attacks.attacks if self.attacks else ()
        return tuple(attack.title for attack in attacks if attack.worked_against_release)

    @property
    def vouched_for(self) -> bool:
        """Whether nothing was found that voids the guarantee, and no site's books are missing."""
        claims = self.empirical.claims if self.empirical else ()
        return (
            not self.failed
            and not self.without_ledger
            and all(claim.holds for claim in claims)
            and self.run.insecure_noise_seed is None
        )
