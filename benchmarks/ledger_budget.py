"""The budget check before a round: how long it takes where a ledger holds years of releases.

    python benchmarks/run.py ledger_budget

Every round of a new study is checked and reserved in a ledger on the disk that holds the releases
of many studies over the same cohort, most of them over samples of the patients.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from findings import Findings, at_least, at_most, show, table
from rich.console import Console
from workers import Settings, in_fresh_process

from fedward.client.vault.allowance import Allowance
from fedward.client.vault.charges import ChargeCounts, Charged, study_charges
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.policy import Refused, SitePolicy
from fedward.client.vault.spending import refuse_overspending
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.accounting import cross_checked_epsilon, epsilon_of
from fedward.common.privacy.cohort_spending import cohort_accounting_delta, events_by_patients
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study

SITE = "north"
COHORT = "patients"
SITES = 4
STUDIES = 40
RELEASES = 9_750
ROUNDS = 250
"""Of the new study, on top of the ledger's releases."""
DELTA = 1e-5
GENEROUS = (30.0, 45.0)
MOST_MILLISECONDS = 50.0


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Seconds of each check of a run in order, and of the whole reservation on the disk."""

    case: str
    checks: tuple[float, ...]
    reservations: tuple[float, ...]
    refused: bool

    @property
    def first(self) -> float:
        """The first check, which looks ahead."""
        return self.checks[0]

    @property
    def later(self) -> tuple[float, ...]:
        """All other checks but one that refused."""
        return self.checks[1:-1] if self.refused else self.checks[1:]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """All releases composed anew; the PRV interval and RDP are None if they did not confirm it."""

    distinct: int
    sampled: int
    epsilon: float
    prv: tuple[float, float] | None
    rdp: float | None
    pld_seconds: float
    seconds: float


def measure(settings: Settings) -> Findings:
    """Measure each case in a fresh process, on one thread."""
    kept = in_fresh_process(_on_disk, None)
    settings.watch(1, 3)
    ended = in_fresh_process(_ended_by_the_cap, None)
    settings.watch(2, 3)
    replay = in_fresh_process(_replayed, None)
    settings.watch(3, 3)
    return findings_of((kept, ended), replay)


def findings_of(cases: tuple[Checks, ...], replay: Replay) -> Findings:
    """Lay out the checks of each case and the replay, and judge them."""
    rows = [
        (
            case.case,
            f"{case.first:.2f}",
            f"{1000 * statistics.median(case.later):.2f}",
            f"{1000 * max(case.later):.2f}",
            f"{1000 * statistics.median(case.reservations):.2f}" if case.reservations else "",
        )
        for case in cases
    ]
    prv, rdp = replay.prv, replay.rdp
    replayed = (
        f"{replay.epsilon:.4f}",
        "did not confirm it" if prv is None else f"{prv[0]:.4f} to {prv[1]:.4f}",
        "did not confirm it" if rdp is None else f"{rdp:.4f}",
        f"{replay.pld_seconds:.1f}",
        f"{replay.seconds:.1f}",
    )
    slowest = 1000 * max(max(case.later) for case in cases)
    return Findings(
        title="The budget check before a round",
        about=(
            f"A study of {ROUNDS} rounds over a cohort whose ledger holds {RELEASES:,} releases of "
            f"{STUDIES} studies; {replay.distinct} distinct events, {replay.sampled} of them over "
            "samples. Both epsilons are capped, over all studies. One thread."
        ),
        tables=(
            table(
                "Checks",
                ("cap", "first, s", "later, ms", "slowest later, ms", "reservation on disk, ms"),
                rows,
            ),
            table(
                "All releases composed anew, for the patients who spent most",
                ("PLD", "PRV", "RDP", "PLD, s", "all accountants, s"),
                (replayed,),
            ),
        ),
        targets=(
            at_most(
                "ms of the slowest check after the first of a run",
                slowest,
                MOST_MILLISECONDS,
                decimals=2,
            ),
            at_least(
                "PLD, PRV and RDP agree on replay (1: they do)",
                float(prv is not None),
                1,
                decimals=0,
            ),
        ),
        notes=(
            "The first check composes the privacy loss of everything, with what the study still "
            "plans; later ones compare counts with what that found to fit.",
            "A reservation is the check, the entry's signature, and its way to the disk.",
        ),
        figures={
            "checks": {case.case: list(case.checks) for case in cases},
            "reservations": {case.case: list(case.reservations) for case in cases},
        },
    )


def earlier_releases(number: int = RELEASES) -> Iterator[LedgerEntry]:
    """Rounds of one study after the other, each with its own noise and rate, scalers among them."""
    for index in range(number):
        study = index * STUDIES // number
        sampled = index % 10 > 0
        noise = (60.0 if sampled else 900.0) + study
        rate = 0.2 + study / 200 if sampled else 1.0
        yield LedgerEntry(
            run_id=f"run-{study}",
            study_digest=f"{study:064x}",
            study_name=f"study-{study}",
            query_digest="0" * 64,
            kind="training" if sampled else "moments",
            round=index,
            attempt=1,
            sites=SITES,
            delta=DELTA,
            holdout=0.2,
            cohorts=(COHORT,),
            event=GaussianEvent(noise_multiplier=noise, sampling_rate=rate),
            event_alone=GaussianEvent(noise_multiplier=noise / 2, sampling_rate=rate),
        )


def new_study() -> Study:
    """The study whose rounds are checked: over samples, as costly as it is long."""
    shipped = load_study(find_study("breast_cancer"))
    document = shipped.model_dump(mode="json")
    document["training"] |= {"rounds": ROUNDS, "batch": "poisson", "sampling_rate": 0.1}
    return Study.model_validate(document)


def round_of(study: Study, plan: PrivacyPlan, number: int) -> LedgerEntry:
    """What the gate reserves for a round."""
    return LedgerEntry(
        run_id="new",
        study_digest=study.digest,
        study_name=study.about.name,
        query_digest="0" * 64,
        kind="training",
        round=number,
        attempt=1,
        sites=SITES,
        delta=study.privacy.delta,
        holdout=study.evaluation.holdout,
        cohorts=(COHORT,),
        event=plan.training.event(),
        event_alone=plan.training.event_alone(),
    )


def policy_of(epsilon: float, epsilon_alone: float) -> SitePolicy:
    """A site that caps both epsilons of its one cohort."""
    budget = CohortBudget(
        name=COHORT, delta=DELTA, epsilon_cap=epsilon, epsilon_alone_cap=epsilon_alone
    )
    return SitePolicy(federation_key=bytes(32), known_keys={}, cohorts={COHORT: budget})


class TimedCheck:
    """The gate's check, which keeps how long it took."""

    def __init__(self, study: Study, policy: SitePolicy) -> None:
        self.plan = plan_for(study, sites=SITES)
        self.seconds: list[float] = []
        self._policy = policy
        self._allowance = Allowance()

    def __call__(self, entry: LedgerEntry, charged: Charged) -> None:
        """Raise :class:`Refused` if the entry may not be added to what is charged."""
        started = time.perf_counter()
        try:
            refuse_overspending(
                entry,
                charged=charged,
                plan=self.plan,
                policy=self._policy,
                site=SITE,
                allowance=self._allowance,
            )
        finally:
            self.seconds.append(time.perf_counter() - started)


def _on_disk(_: None) -> Checks:
    study = new_study()
    check = TimedCheck(study, policy_of(*GENEROUS))
    reservations = []
    with tempfile.TemporaryDirectory() as folder:
        budget = CohortBudget(
            name=COHORT, delta=DELTA, epsilon_cap=GENEROUS[0], epsilon_alone_cap=GENEROUS[1]
        )
        ledger = DurableLedger(
            Path(folder) / "ledger.sqlite",
            site=SITE,
            identity=SiteIdentity.generate(),
            cohorts=[budget],
        )
        for entry in earlier_releases():
            ledger.reserve(entry)
        for number in range(1, ROUNDS + 1):
            entry = round_of(study, check.plan, number)
            started = time.perf_counter()
            ledger.reserve(entry, check=lambda charged, entry=entry: check(entry, charged))
            reservations.append(time.perf_counter() - started)
        ledger.close()
    return Checks(
        case="far above what is planned",
        checks=tuple(check.seconds),
        reservations=tuple(reservations[1:]),
        refused=False,
    )


def _ended_by_the_cap(_: None) -> Checks:
    """A cap that four fifths of the run reach: how many more fit has to be found out."""
    study = new_study()
    plan = plan_for(study, sites=SITES)
    counts = ChargeCounts(earlier_releases())
    rounds = [round_of(study, plan, number) for number in range(1, ROUNDS + 1)]
    reached = ChargeCounts([*earlier_releases(), *rounds[: 4 * ROUNDS // 5]])
    check = TimedCheck(study, policy_of(_worst(reached), GENEROUS[1]))
    refused = False
    for entry in rounds:
        try:
            check(entry, counts)
        except Refused:
            refused = True
            break
        counts.add(entry)
    return Checks(
        case="reached by four fifths of the run",
        checks=tuple(check.seconds),
        reservations=(),
        refused=refused,
    )


def _worst(counts: ChargeCounts) -> float:
    delta = cohort_accounting_delta(DELTA)
    return max(epsilon_of(events, delta=delta) for events in _by_patients(counts))


def _by_patients(counts: ChargeCounts) -> tuple[tuple[GaussianEvent, ...], ...]:
    charges = study_charges(counts.of_cohort(COHORT), alone=False)
    assert charges is not None  # all of it has noise
    return events_by_patients(charges)


def _replayed(_: None) -> Replay:
    counts = ChargeCounts(earlier_releases())
    events = max(_by_patients(counts), key=len)
    delta = cohort_accounting_delta(DELTA)
    epsilon_of([replace(events[0], count=1)], delta=delta)  # the import is not what is measured
    started = time.perf_counter()
    epsilon = epsilon_of(events, delta=delta)
    pld = time.perf_counter() - started
    try:
        checked = cross_checked_epsilon(events, delta=delta)
    except PrivacyRefusal:
        prv, rdp = None, None
    else:
        assert checked.prv_low is not None
        assert checked.prv_high is not None
        prv, rdp = (checked.prv_low, checked.prv_high), checked.rdp
    return Replay(
        distinct=len(events),
        sampled=sum(event.sampling_rate < 1 for event in events),
        epsilon=epsilon,
        prv=prv,
        rdp=rdp,
        pld_seconds=pld,
        seconds=time.perf_counter() - started,
    )


if __name__ == "__main__":
    show(measure(Settings()), Console())
