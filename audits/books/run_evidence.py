"""What a run leaves besides ledgers: its signed roster, and its coordinator's signed log."""

from __future__ import annotations

from collections.abc import Collection

from fedward.audits.books.checks import Check
from fedward.audits.books.evidence import Evidence
from fedward.audits.books.result import AuditedRun
from fedward.common.errors import InputError
from fedward.common.secure_sum.roster import Roster, RosterError, checked_roster
from fedward.server.run_log import RunLog, read_run_log


def log_of(evidence: Evidence, *, check: Check) -> RunLog | None:
    """The log, if its chain holds; where it does not is an error of ``check``.

    Raises :class:`InputError` if the file cannot be read.
    """
    if evidence.log is None:
        check.missing("no log of the run was given")
        return None
    check.made()
    try:
        return read_run_log(evidence.log)
    except InputError as error:
        if not error.field:
            raise
        check.error(f"{error.source}: {error.field}", error.problem)
        return None


def roster_of(evidence: Evidence, log: RunLog | None, *, check: Check) -> Roster | None:
    """The roster that was given, else that of the log; ``check`` says if the federation signed it.

    One that nobody signed is given back all the same, so that other checks can go on.
    """
    signed, source = evidence.signed_roster, evidence.roster_source
    if signed is None and log is not None:
        signed, source = log.started.signed_roster, log.source
    if signed is None:
        check.missing("no roster was given")
        return None
    if evidence.federation_key is None:
        check.incomplete(
            source,
            "the federation's key was not given, so nothing shows that the federation named "
            "these sites and keys (give --federation-key)",
        )
        return signed.roster
    try:
        checked_roster(signed, federation_key=evidence.federation_key)
    except RosterError as error:
        check.error(source, str(error))
        return signed.roster
    if evidence.own_key:
        check.incomplete(
            evidence.own_key,
            "the federation's key was taken from the books that it is to vouch for, so whoever "
            "wrote them can have made it (give --federation-key as its sites pinned it)",
        )
    else:
        check.made()
    return signed.roster


def check_log(log: RunLog, evidence: Evidence, roster: Roster | None, *, check: Check) -> None:
    """Whether the log is of this roster and study, and signed by the roster's coordinator."""
    if evidence.signed_roster not in (None, log.started.signed_roster):
        check.error(log.source, "is of a run over another roster than the one given")
    if evidence.study is not None and evidence.study.digest != log.started.study_digest:
        check.error(log.source, "is of a run of another study than the one given")
    key = None if roster is None else roster.coordinator_key
    where = f"{log.source}: line {len(log.records) + 3}"
    if key is None:
        check.incomplete(where, "the roster names no coordinator's key, so nobody signed the log")
    elif not log.is_signed_by(bytes.fromhex(key)):
        check.error(where, "is not signed with the coordinator's key of the roster")


def check_ledgers(
    log: RunLog, sites: Collection[str], roster: Roster | None, *, check: Check
) -> None:
    """Whether every site that the log names handed in a ledger; ``sites`` are those that did.

    Sites of the roster that the log does not name are told as a warning.
    """
    check.made()
    known = {known.head.site for known in log.heads}
    in_log = known.union(record.site for record in log.records)
    for site in sorted(in_log.difference(sites)):
        check.error(log.source, f"{site} is in the log, and no readable ledger of it was given")
    others = () if roster is None else roster.names
    for site in sorted(set(others).difference(in_log, sites)):
        check.warning(
            log.source, f"{site} is in the roster but not in the log, and no ledger of it was given"
        )


def run_of(log: RunLog, sites: Collection[str]) -> AuditedRun:
    """The run in numbers; ``sites`` are those whose ledgers are at hand."""
    return AuditedRun(
        run_id=log.started.run_id,
        study_name=log.study.about.name,
        study_digest=log.started.study_digest,
        asked=len(log.records),
        received=sum(record.release_digest is not None for record in log.records),
        sites_without_ledger=tuple(sorted({one.site for one in log.records}.difference(sites))),
    )
