"""A report's body from a run's folder: the books and their checks, and the audits beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fedward.audits.attacks.result import AttackAudit
from fedward.audits.books.evidence import Evidence, LedgerEvidence, evidence_of
from fedward.audits.books.ledger_audit import audit_books
from fedward.audits.books.result import LedgerAudit
from fedward.audits.empirical.result import EmpiricalAudit
from fedward.audits.report.document import AuditReport, RunFacts, StudyFacts
from fedward.audits.report.reconstructions import check_records
from fedward.audits.report.report_checks import (
    claims_planned,
    complete,
    promise_kept,
    same_study,
)
from fedward.audits.report.run_inputs import AUDIT, BOOKS, RunInputs
from fedward.audits.report.spending import site_books
from fedward.audits.report.trust import trusted_parties
from fedward.common.study.definition import Study
from fedward.server.run_log import RunLog
from fedward.simulations.run_folder import SETTINGS, ExperimentSettings

EMPIRICAL: Final = f"{AUDIT}/empirical.json"
ATTACK: Final = f"{AUDIT}/attack.json"
_PACKAGES: Final = ("fedward", "cryptography", "dp-accounting", "numpy", "opacus", "scipy")


def gather(
    run: Path,
    *,
    made: str,
    fresh_key: bool,
    records: bool = True,
    first_entries: Mapping[str, int] | None = None,
    federation_key: str | None = None,
) -> AuditReport:
    """Read everything in the run's folder that a report is about, and check the books.

    ``made`` is the time of the report. ``records`` False leaves out the records that attacks were
    tried on. ``first_entries`` has how many entries are read of a ledger, by its path in the
    folder; all of one that is not named. ``federation_key`` (hex) is the federation's as its sites
    keep it; without one nothing but the folder itself says which it is.
    The report is equal for equal files, whatever the folder is called from.

    Raises:
        InputError: there are no books, or a file cannot be used.
    """
    inputs = RunInputs(run)
    study = inputs.document(f"{BOOKS}/study.json", Study)
    if study is None:
        raise ValueError("the study was there a moment ago")
    inputs.note_plain_files()
    settings = inputs.document(SETTINGS, ExperimentSettings)
    empirical = inputs.document(EMPIRICAL, EmpiricalAudit)
    attacks = _attacks(inputs)
    evidence = evidence_of([inputs.folder], federation_key=federation_key)
    if first_entries:
        ledgers = tuple(_cut(given, inputs, first_entries) for given in evidence.ledgers)
        evidence = replace(evidence, ledgers=ledgers)
    for given in evidence.ledgers:
        inputs.note_ledger(given.raw.source, given.raw.lines)
    books = audit_books(evidence)
    audit = _without_folder(books.audit, inputs.folder)
    facts = _study_facts(study)
    key = evidence.federation_key
    run_facts = RunFacts(
        name=inputs.name,
        made=made,
        masked=_masked(books.log),
        federation_key=None if key is None else key.hex(),
        simulated=settings is not None,
        insecure_noise_seed=settings.insecure_noise_seed if settings else None,
        federation_key_given=federation_key is not None,
        sites=_sites_of_run(books.log, evidence),
    )
    sites = tuple(
        site_books([read.entry for read in books.ledgers[site].entries])
        for site in sorted(books.ledgers)
    )
    return AuditReport(
        study=facts,
        run=run_facts,
        sites=sites,
        ledgers=audit.ledgers,
        checks=(
            *audit.checks,
            complete(sites, given=len(evidence.ledgers), of_run=run_facts.sites),
            promise_kept(facts, sites),
            *same_study(facts, {EMPIRICAL: empirical, ATTACK: attacks}),
            *claims_planned(study, empirical),
        ),
        empirical=empirical,
        attacks=attacks if records or attacks is None else _without_records(attacks),
        trusted=trusted_parties(facts, run_facts, tried=bool(empirical or attacks)),
        evidence=inputs.evidence,
        versions={name: version(name) for name in _PACKAGES},
        notes=settings.notes if settings else (),
        fresh_key=fresh_key,
        records_shown=records,
    )


def _attacks(inputs: RunInputs) -> AttackAudit | None:
    attacks = inputs.document(ATTACK, AttackAudit)
    for attack in attacks.attacks if attacks else ():
        try:
            check_records(attack)
        except ValueError as error:
            raise inputs.unusable(ATTACK, str(error), field="attacks") from error
    return attacks


def _cut(
    given: LedgerEvidence, inputs: RunInputs, first_entries: Mapping[str, int]
) -> LedgerEvidence:
    """A ledger as it was when it had fewer entries. Of an export that loses its head, too."""
    count = first_entries.get(inputs.relative(given.raw.source))
    if count is None or len(given.raw.lines) <= count:
        return given
    raw = replace(given.raw, lines=given.raw.lines[:count], head_line=None)
    return replace(given, raw=raw, is_export=False)


def _sites_of_run(log: RunLog | None, evidence: Evidence) -> tuple[str, ...]:
    """All sites that the roster of the run, its log, or the given roster names."""
    rosters = [evidence.signed_roster, log.started.signed_roster if log else None]
    named = {entry.site for signed in rosters if signed for entry in signed.roster.sites}
    named |= {record.site for record in log.records} if log else set()
    return tuple(sorted(named))


def _masked(log: RunLog | None) -> bool | None:
    """Whether every sum over several sites was masked, by the coordinator's log."""
    if log is None:
        return None  # the checks of the books say what is wrong with it
    return all(record.masked for record in log.records if record.kind != "site_evaluation")


def _study_facts(study: Study) -> StudyFacts:
    return StudyFacts(
        name=study.about.name,
        title=study.about.title,
        description=study.about.description,
        digest=study.digest,
        epsilon=study.privacy.epsilon,
        delta=study.privacy.delta,
        clip=study.privacy.clip,
        trust=study.privacy.trust,
        colluding=study.privacy.colluding,
        minimum_sites=study.cohort.minimum_sites,
        holdout=study.evaluation.holdout,
    )


def _without_records(attacks: AttackAudit) -> AttackAudit:
    bare = tuple(attack.model_copy(update={"reconstructions": ()}) for attack in attacks.attacks)
    return attacks.model_copy(update={"attacks": bare})


def _without_folder(audit: LedgerAudit, folder: Path) -> LedgerAudit:
    """The same with paths relative to the folder, which says nothing and differs by machine."""
    prefix = f"{folder}/"

    def relative(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(prefix, "")
        if isinstance(value, list):
            return [relative(one) for one in value]
        if isinstance(value, dict):
            return {relative(name): relative(one) for name, one in value.items()}
        return value

    return LedgerAudit.model_validate(relative(audit.model_dump(mode="json")))
