"""The books of a real run, with faults that a site or a coordinator signed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.client.vault.ledger_file import signed_entries
from fedward.common.errors import InputError
from fedward.common.ledger.chain import entry_digest, signed
from fedward.common.ledger.entries import (
    NOTHING_BEFORE,
    Entry,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.ledger.export import export_lines
from fedward.common.ledger.heads import LedgerHead
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_log import RunLog, read_run_log, write_run_log

OutcomeOf = Callable[[Path], Any]
SITE = "site-1"


def key_of(path: Path) -> SiteIdentity:
    return SiteIdentity.from_private_bytes(bytes.fromhex(path.read_text().strip()))


def log_of(run: Path) -> RunLog:
    return read_run_log(run / "books" / "coordinator.jsonl")


def rewrite_log(
    run: Path, records: Iterable[ReleaseRecord], *, by: SiteIdentity | None = None
) -> None:
    """The log with other records, under the coordinator's own signature."""
    log = log_of(run)
    write_run_log(
        run / "books" / "coordinator.jsonl",
        run_id=log.started.run_id,
        study=log.study,
        signed_roster=log.started.signed_roster,
        records=records,
        heads=log.heads,
        coordinator=by or key_of(run / "books" / "coordinator.key"),
    )


def rewrite_ledger(run: Path, change: Callable[[list[Entry]], list[Entry]]) -> None:
    """A site's ledger with other entries, chained and signed anew by the site itself."""
    folder = run / "books" / "sites" / SITE
    path, identity = folder / "ledger.sqlite", key_of(folder / "identity.key")
    entries = signed_entries(path)
    renumbered: dict[int, int] = {}
    previous, chained = NOTHING_BEFORE, []
    for sequence, entry in enumerate(change([one.entry for one in entries])):
        renumbered[entry.sequence] = sequence
        fields: dict[str, Any] = {"sequence": sequence, "previous": previous}
        if isinstance(entry, ReleaseCommitted):
            fields["of"] = renumbered.get(entry.of, 0)
        again = signed(entry.model_copy(update=fields), identity)
        chained.append(again)
        previous = entry_digest(again.entry)
    opened = entries[0].entry
    assert opened.kind == "opened"
    head = LedgerHead.sign(
        identity,
        site=SITE,
        ledger_id=opened.ledger_id,
        sequence=len(chained) - 1,
        digest=previous,
    )
    for file in folder.glob("ledger.sqlite*"):
        file.unlink()
    text = "".join(f"{line}\n" for line in export_lines(chained, head))
    # An export under the name of the ledger: what a file is, its content says.
    path.write_text(text, encoding="utf-8")


def told(outcome: Any, name: str) -> str:
    return "\n".join(f"{one.where}: {one.sentence}" for one in outcome.errors(name))


def reserved(entry: Entry, number: int) -> bool:
    return isinstance(entry, ReleaseReserved) and entry.round == number


def test_the_books_of_a_clean_run_pass_every_check(run_books: Path, outcome_of: OutcomeOf) -> None:
    outcome = outcome_of(run_books)

    assert outcome.failed == set()
    # The key that would vouch for the roster lies beside it, and is the run's own.
    others = [check for check in outcome.audit.checks if check.name != "roster"]
    assert all(check.passed for check in others)
    assert not any(check.findings for check in others)
    assert outcome.check("roster").passed is None
    assert "taken from the books" in outcome.warnings("roster")[0].sentence
    run = outcome.audit.run
    assert run.asked == run.received == sum(one.committed for one in outcome.audit.ledgers)
    assert len(outcome.audit.evidence) == 3 + len({"roster", "log", "study"})


def test_a_ledger_that_was_written_anew_without_a_release_is_found(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    def without_round_2(entries: list[Entry]) -> list[Entry]:
        (gone,) = (entry.sequence for entry in entries if reserved(entry, 2))
        return [
            entry
            for entry in entries
            if entry.sequence != gone and getattr(entry, "of", None) != gone
        ]

    rewrite_ledger(copied_books, without_round_2)
    outcome = outcome_of(copied_books)

    # The site's chain and signatures are right: what others have seen is what gives it away.
    assert not outcome.failed & {"text", "chain", "signatures", "identity"}
    assert {"reconciliation", "seen_heads"} <= outcome.failed
    assert f"{SITE}, round 2, attempt 1): was received, but" in told(outcome, "reconciliation")
    assert "has no entry of it" in told(outcome, "reconciliation")


def test_an_old_backup_is_caught_by_the_counter_signed_head(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    folder = copied_books / "books" / "sites" / SITE
    entries = signed_entries(folder / "ledger.sqlite")
    head = LedgerHead.sign(
        key_of(folder / "identity.key"),
        site=SITE,
        ledger_id=entries[0].entry.ledger_id,  # type: ignore[union-attr]
        sequence=5,
        digest=entries[5].digest,
    )
    (folder / "ledger.sqlite").write_text(
        "".join(f"{line}\n" for line in export_lines(entries[:6], head)), encoding="utf-8"
    )

    outcome = outcome_of(copied_books)

    assert not outcome.failed & {"text", "chain", "signatures", "identity"}
    assert "ends with entry 5: an old copy was put back" in told(outcome, "seen_heads")


@pytest.mark.parametrize(
    ("statement", "check", "where"),
    [
        ("DELETE FROM entries WHERE sequence = 7", "chain", "entry 7 is missing"),
        (
            "UPDATE entries SET body = replace(body, '\"of\":8', '\"of\":4') WHERE sequence = 9",
            "signatures",
            "line 10 (entry 9): is not what the site signed: byte",
        ),
    ],
)
def test_a_row_of_the_database_that_was_deleted_or_changed_is_found(
    copied_books: Path, outcome_of: OutcomeOf, statement: str, check: str, where: str
) -> None:
    path = copied_books / "books" / "sites" / SITE / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount == 1
        connection.commit()

    outcome = outcome_of(copied_books)

    assert where in told(outcome, check)


def test_an_entry_that_the_log_does_not_know_is_found(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    records = log_of(copied_books).records
    rewrite_log(copied_books, (one for one in records if (one.site, one.round) != (SITE, 2)))

    outcome = outcome_of(copied_books)

    assert outcome.failed == {"reconciliation"}
    assert "round 2, attempt 1 that the log of the run does not know" in told(
        outcome, "reconciliation"
    )


def test_a_release_without_an_entry_is_found(copied_books: Path, outcome_of: OutcomeOf) -> None:
    records = log_of(copied_books).records
    more = next(one for one in records if one.site == SITE).model_copy(update={"attempt": 9})
    rewrite_log(copied_books, [*records, more])

    outcome = outcome_of(copied_books)

    assert outcome.failed == {"reconciliation"}
    assert f"line {len(records) + 2} ({SITE}" in told(outcome, "reconciliation")
    assert "has no entry of it" in told(outcome, "reconciliation")


def test_releases_of_other_runs_are_told_not_to_be_covered(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    log = log_of(copied_books)
    write_run_log(
        copied_books / "books" / "coordinator.jsonl",
        run_id="another",
        study=log.study,
        signed_roster=log.started.signed_roster,
        records=(),
        heads=log.heads,
        coordinator=key_of(copied_books / "books" / "coordinator.key"),
    )

    found = outcome_of(copied_books).check("reconciliation").findings

    assert len(found) == 3
    assert all("are of other runs" in one.sentence for one in found)


def test_a_declared_failure_accounts_for_an_entry(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    """A release that was charged and did not arrive: the log says so."""
    lost = {"release_digest": None, "failure": "no answer", "ledger": None, "summed": False}
    records = [
        one.model_copy(update=lost) if (one.site, one.round) == (SITE, 2) else one
        for one in log_of(copied_books).records
    ]
    rewrite_log(copied_books, records)

    assert outcome_of(copied_books).failed == set()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"release_digest": "0" * 64}, "is not what entry"),
        ({"query_digest": "0" * 64}, "answers another query"),
        ({"kind": "counts"}, "is a counts sum, but entry"),
        ({"ledger": None}, "its entry is none"),
        ({"executed": None}, "made with other noise"),
    ],
)
def test_a_line_of_the_log_that_differs_from_its_entry_is_found(
    copied_books: Path, outcome_of: OutcomeOf, changes: dict[str, Any], sentence: str
) -> None:
    records = list(log_of(copied_books).records)
    at = next(n for n, one in enumerate(records) if (one.site, one.round) == (SITE, 2))
    records[at] = records[at].model_copy(update=changes)
    rewrite_log(copied_books, records)

    outcome = outcome_of(copied_books)

    assert outcome.failed == {"reconciliation"}
    assert f"line {at + 2} ({SITE}, round 2" in told(outcome, "reconciliation")
    assert sentence in told(outcome, "reconciliation")


def test_less_noise_than_the_plan_demands_is_found_though_books_agree(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    def noisy(entries: list[Entry]) -> list[Entry]:
        changed = []
        for entry in entries:
            if isinstance(entry, ReleaseReserved) and reserved(entry, 2):
                assert entry.event is not None
                less = 0.9 * entry.event.noise_multiplier
                event = entry.event.model_copy(update={"noise_multiplier": less})
                changed.append(entry.model_copy(update={"event": event}))
            else:
                changed.append(entry)
        return changed

    rewrite_ledger(copied_books, noisy)
    outcome = outcome_of(copied_books)

    assert "has noise multiplier" in told(outcome, "study_plan")
    assert "made with other noise" in told(outcome, "reconciliation")
    assert "release_epsilons" in outcome.failed


def test_a_log_that_a_stranger_signed_is_refused(copied_books: Path, outcome_of: OutcomeOf) -> None:
    rewrite_log(copied_books, log_of(copied_books).records, by=SiteIdentity.generate())

    outcome = outcome_of(copied_books)

    assert outcome.failed == {"run_log"}
    assert "not signed with the coordinator's key" in told(outcome, "run_log")


def test_a_site_without_a_ledger_is_named(copied_books: Path, outcome_of: OutcomeOf) -> None:
    shutil.rmtree(copied_books / "books" / "sites" / SITE)

    outcome = outcome_of(copied_books)

    assert outcome.failed == {"ledgers"}
    assert f"{SITE} is in the log" in told(outcome, "ledgers")
    assert SITE in outcome.warnings("reconciliation")[0].sentence
    assert outcome.audit.run.sites_without_ledger == (SITE,)


def test_a_key_that_was_given_vouches_for_the_roster(run_books: Path, audited_with: Any) -> None:
    key = (run_books / "books" / "federation.pub").read_text().strip()

    assert audited_with([run_books], federation_key=key).check("roster").passed is True
    stranger = SiteIdentity.generate().public_key.hex()
    assert audited_with([run_books], federation_key=stranger).failed == {"roster"}


def test_without_a_log_nothing_shows_that_all_sites_and_entries_are_there(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    (copied_books / "books" / "coordinator.jsonl").unlink()

    outcome = outcome_of(copied_books)

    assert outcome.failed == set()
    assert outcome.check("ledgers").passed is None
    assert outcome.check("ends").passed is None
    assert "may be missing at its end" in outcome.warnings("ends")[0].sentence


def test_a_log_that_nobody_signed_or_without_heads_has_not_passed(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    log = log_of(copied_books)
    write_run_log(
        copied_books / "books" / "coordinator.jsonl",
        run_id=log.started.run_id,
        study=log.study,
        signed_roster=log.started.signed_roster,
        records=log.records,
        heads=log.heads[:1],
        coordinator=key_of(copied_books / "books" / "coordinator.key"),
    )

    outcome = outcome_of(copied_books)

    assert outcome.check("seen_heads").passed is None
    assert len(outcome.warnings("seen_heads")) == len(outcome.audit.ledgers) - 1


def test_an_export_takes_the_place_of_a_ledger_in_the_folder_of_its_site(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    folder = copied_books / "books" / "sites" / SITE
    rewrite_ledger(copied_books, lambda entries: entries)
    (folder / "ledger.sqlite").rename(folder / "from-the-site.jsonl")

    assert outcome_of(copied_books).failed == set()

    shutil.copy(folder / "from-the-site.jsonl", folder / "older.jsonl")
    with pytest.raises(InputError, match="several ledgers of one site"):
        outcome_of(copied_books)


def test_two_ledgers_of_one_site_are_not_both_believed(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    sites = copied_books / "books" / "sites"
    shutil.copytree(sites / SITE, sites / "another")

    assert "is a second ledger" in told(outcome_of(copied_books), "identity")


@settings(max_examples=60)
@given(data=st.data())
def test_one_changed_byte_anywhere_in_the_log_is_found_and_located(
    data: st.DataObject, run_books: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray((run_books / "books" / "coordinator.jsonl").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    byte = data.draw(st.integers(0, 255).filter(lambda new: new != content[position]))
    line = content[:position].count(b"\n") + 1
    content[position] = byte
    changed = tmp_path_factory.getbasetemp() / "changed_log.jsonl"
    changed.write_bytes(content)

    with pytest.raises(InputError) as caught:
        read_run_log(changed)

    assert caught.value.field == f"line {line}"


def test_a_changed_byte_of_the_log_is_a_failed_check(
    copied_books: Path, outcome_of: OutcomeOf
) -> None:
    path = copied_books / "books" / "coordinator.jsonl"
    content = path.read_bytes()
    at = content.index(b'"round":2')
    line = content[:at].count(b"\n") + 1
    path.write_bytes(content[: at + 8] + b"3" + content[at + 9 :])

    outcome = outcome_of(copied_books)

    assert outcome.failed == {"run_log"}
    assert f"line {line}" in outcome.errors("run_log")[0].where
    assert outcome.check("reconciliation").passed is None
