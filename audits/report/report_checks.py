"""What a report checks itself, beyond the books: that it is complete, and about one study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fedward.audits.attacks.result import AttackAudit
from fedward.audits.books.recomputation import agrees
from fedward.audits.empirical.result import EmpiricalAudit
from fedward.audits.findings import CheckResult, Finding
from fedward.audits.report.document import SiteBooks, StudyFacts
from fedward.common.errors import FedwardError
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions


def complete(sites: Sequence[SiteBooks], *, given: int, of_run: Sequence[str] = ()) -> CheckResult:
    """Whether all ``given`` ledgers could be summed up, and all sites ``of_run`` are among them.

    None if all could be, but nobody knows which sites took part (``of_run`` is empty).
    """
    left_out = given - len(sites)
    missing = sorted(set(of_run).difference(site.site for site in sites))
    sentences = []
    if left_out:
        sentences.append(f"{left_out} of {given} ledgers could not be summed up")
    if missing:
        sentences.append(f"no ledger was read of {len(missing)} of {len(of_run)} hospitals")
    if sentences:
        said = " and ".join(sentences)
        return CheckResult(
            name="complete",
            passed=False,
            sentence=f"{said[:1].upper()}{said[1:]}, so not every hospital's spending is on this "
            "page.",
            findings=tuple(
                Finding(
                    severity="error",
                    where=site,
                    sentence="is of the run; its ledger is missing",
                )
                for site in missing
            ),
        )
    if not of_run:
        return CheckResult(
            name="complete",
            passed=None,
            sentence=f"What was spent could be summed up from {given} ledgers, but without a "
            "roster or a log nobody knows whether these are all.",
        )
    return CheckResult(
        name="complete",
        passed=True,
        sentence=f"What was spent could be summed up from the ledgers of all {len(of_run)} "
        "hospitals of the run.",
    )


def claims_planned(study: Study, empirical: EmpiricalAudit | None) -> Iterator[CheckResult]:
    """Whether what the lower bounds are held to is what the study's own plan claims."""
    if empirical is None or empirical.study_digest != study.digest:
        return
    name = "audited claims"
    if not empirical.claims:
        sentence = "The empirical audit has no lower bounds."
        yield CheckResult(name=name, passed=None, sentence=sentence)
        return
    try:
        coordinates = Dimensions.of(study).longest
        plan = plan_for(study, sites=empirical.sites, coordinates=coordinates)
    except (FedwardError, ValueError) as error:
        sentence = f"The study has no plan for the {empirical.sites} sites of the audit: {error}"
        yield CheckResult(name=name, passed=False, sentence=sentence)
        return
    planned = {
        "epsilon": plan.training_epsilon,
        "epsilon_alone": plan.training_epsilon_alone,
    }
    findings = tuple(
        Finding(
            severity="error",
            where=claim.name,
            sentence=f"is held to {claim.claimed:g} at delta {claim.delta:g}, but the study's plan "
            f"claims {planned[claim.name]:g} at {study.privacy.delta:g}",
        )
        for claim in empirical.claims
        if not agrees(claim.claimed, planned[claim.name]) or claim.delta != study.privacy.delta
    )
    yield CheckResult(
        name=name,
        passed=not findings,
        sentence="The lower bounds are held to other epsilons than the study's plan claims."
        if findings
        else "The lower bounds are held to the epsilons that the study's plan claims.",
        findings=findings,
    )


def promise_kept(study: StudyFacts, sites: Sequence[SiteBooks]) -> CheckResult:
    """Whether no hospital spent more than the study's epsilon on it."""
    found = [(site.site, site.of_study(study.digest)) for site in sites]
    accounts = [(name, account) for name, account in found if account is not None]
    if not accounts:
        return CheckResult(
            name="promise", passed=None, sentence="Nothing was released for this study."
        )
    findings = []
    for name, account in accounts:
        if account.epsilon is None or account.epsilon > study.epsilon:
            spent = "without noise" if account.epsilon is None else f"epsilon {account.epsilon:g}"
            sentence = f"released {spent}, and the study promises {study.epsilon:g}"
            findings.append(Finding(severity="error", where=name, sentence=sentence))
    return CheckResult(
        name="promise",
        passed=not findings,
        sentence="More was spent than the study promises."
        if findings
        else "No hospital spent more than the epsilon that the study promises.",
        findings=tuple(findings),
    )


def same_study(
    study: StudyFacts, audits: Mapping[str, EmpiricalAudit | AttackAudit | None]
) -> Iterator[CheckResult]:
    """Whether what was tried, by the name of its file, was tried on this very study."""
    for path, audit in audits.items():
        if audit is None:
            continue
        name = "attacks" if isinstance(audit, AttackAudit) else "empirical audit"
        if audit.study_digest == study.digest:
            sentence = f"{path} is about this very study."
            yield CheckResult(name=name, passed=True, sentence=sentence)
        else:
            yield CheckResult(
                name=name,
                passed=None,
                sentence=f"{path} is about {audit.study_name} with the digest "
                f"{audit.study_digest[:12]}, which is not this run's study. What it found is on "
                "this page, but it does not show how this run would have fared.",
            )
