"""What was changed, left out, moved or signed by others is found, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.audits.books.chain_verification import ChainChecks, read_ledger
from fedward.audits.findings import Finding
from fedward.common.ledger.chain import signed
from fedward.common.ledger.export import raw_of_export
from fedward.common.secure_sum.roster import Roster, sign_roster

Audited = Callable[..., Any]
MakeLedger = Callable[..., Any]
CHAIN_CHECKS = {"text", "chain", "signatures", "identity"}


@pytest.fixture(scope="session")
def export(make_ledger: MakeLedger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "north.jsonl"
    path.write_text("".join(f"{line}\n" for line in make_ledger().lines()), encoding="utf-8")
    return path


def findings_of(path: Path, roster: Roster) -> list[Finding]:
    checks = ChainChecks.new()
    read_ledger(raw_of_export(path), roster=roster, checks=checks, head_expected=True)
    return [
        finding
        for check in checks.all
        for finding in check.result().findings
        if finding.severity == "error"
    ]


def test_an_export_as_it_was_written_passes_every_check_that_can_be_made(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    outcome = audited(make_ledger())

    assert outcome.failed == set()
    not_made = {check.name for check in outcome.audit.checks if check.passed is None}
    assert not_made == {"study_plan", "run_log", "ledgers", "reconciliation", "balances"}
    assert outcome.audit.ledgers[0].committed == 3


@settings(max_examples=100)
@given(data=st.data())
def test_one_changed_byte_anywhere_in_an_export_is_found_and_located(
    data: st.DataObject,
    export: Path,
    make_ledger: MakeLedger,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = bytearray(export.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    byte = data.draw(st.integers(0, 255).filter(lambda new: new != content[position]))
    line = content[:position].count(b"\n") + 1
    content[position] = byte
    changed = tmp_path_factory.getbasetemp() / "changed.jsonl"
    changed.write_bytes(content)

    found = findings_of(changed, make_ledger(None).signed_roster.roster)

    assert any(f"line {line}" in finding.where for finding in found), found


@settings(max_examples=30)
@given(data=st.data())
def test_a_changed_byte_of_an_entry_is_told_with_its_field_and_what_it_was(
    data: st.DataObject,
    export: Path,
    make_ledger: MakeLedger,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 2), label="line")
    line = bytearray(lines[number])
    entry = json.loads(line)["entry"]
    field = data.draw(st.sampled_from(sorted(entry)), label="field")
    value = json.dumps(entry[field], separators=(",", ":"), sort_keys=True).encode()
    at = line.index(b'"' + field.encode() + b'":' + value) + len(field) + 3
    position = at + data.draw(st.integers(0, len(value) - 1), label="byte of the value")
    was = line[position]
    # A space might leave the value as it was, in another form.
    line[position] = data.draw(st.sampled_from(sorted(set(range(0x21, 0x7F)) - {was})))
    changed = tmp_path_factory.getbasetemp() / "changed_entry.jsonl"
    changed.write_bytes(b"".join([*lines[:number], bytes(line), *lines[number + 1 :]]))

    found = findings_of(changed, make_ledger(None).signed_roster.roster)

    told = [one.sentence for one in found if f"line {number + 1}" in one.where]
    expected = f"byte {position + 1}, in {field!r}, is {chr(line[position])!r} and was {chr(was)!r}"
    assert any(expected in sentence for sentence in told), (expected, told)


def test_an_entry_that_was_deleted_leaves_a_gap(make_ledger: MakeLedger, audited: Audited) -> None:
    lines = make_ledger().lines()

    outcome = audited(lines[:4] + lines[5:])

    assert "chain" in outcome.failed
    assert [one.sentence for one in outcome.errors("chain")] == ["entry 4 is missing"]


def test_a_deleted_entry_is_seen_though_the_others_were_numbered_anew_by_another_key(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    del ledger.drafts[4:6]
    forged = [signed(one.entry, ledger.stranger) for one in ledger.entries()]

    outcome = audited(ledger.lines(forged))

    # The head is the site's own here; every entry is the forger's.
    assert len(outcome.errors("signatures")) == len(forged)


def test_two_entries_that_were_swapped_are_both_located(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    lines = make_ledger().lines()
    lines[3], lines[4] = lines[4], lines[3]

    outcome = audited(lines)

    where = [one.where for one in outcome.errors("chain")]
    assert any(one.endswith("line 4 (entry 4)") for one in where)
    assert any(one.endswith("line 5 (entry 3)") for one in where)


def test_an_entry_that_is_there_twice_is_found(make_ledger: MakeLedger, audited: Audited) -> None:
    lines = make_ledger().lines()

    outcome = audited([*lines[:4], lines[3], *lines[4:]])

    assert any("entry 3 is there 2 times" in one.sentence for one in outcome.errors("chain"))


def test_a_signature_by_another_key_is_located(make_ledger: MakeLedger, audited: Audited) -> None:
    ledger = make_ledger()
    entries = ledger.entries()
    entries[3] = signed(entries[3].entry, ledger.stranger)

    outcome = audited(ledger.lines(entries))

    assert outcome.failed == {"signatures"}
    (finding,) = outcome.errors("signatures")
    assert finding.where.endswith("line 4 (entry 3)")
    assert "another key" in finding.sentence


def test_a_ledger_of_a_key_that_is_not_the_rosters_is_refused(
    make_ledger: MakeLedger, audited: Audited, tmp_path: Path
) -> None:
    ledger = make_ledger()
    others = Roster.of(
        {"north": ledger.stranger.public_key},
        federation="simulation",
        coordinator_key=ledger.coordinator.public_key,
    )
    federation = ledger.stranger.generate()
    path = tmp_path / "other.json"
    path.write_text(sign_roster(others, federation).model_dump_json(), encoding="utf-8")

    outcome = audited(ledger, roster=path, federation_key=federation.public_key.hex())

    assert outcome.failed == {"identity"}


def test_a_roster_that_the_federation_did_not_sign_is_refused(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()

    outcome = audited(ledger, federation_key=ledger.stranger.public_key.hex())

    assert "roster" in outcome.failed


@pytest.mark.parametrize("kept", [1, 2, 5, 8])
def test_an_export_that_ends_too_early_is_found(
    make_ledger: MakeLedger, audited: Audited, kept: int
) -> None:
    lines = make_ledger().lines()

    assert "chain" in audited(lines[:kept]).failed
    with_head = audited([*lines[:kept], lines[-1]])
    assert any("missing" in one.sentence for one in with_head.errors("chain"))


def test_an_export_cut_off_within_a_line_is_found_at_every_length(
    export: Path, make_ledger: MakeLedger, audited: Audited, tmp_path: Path
) -> None:
    content = export.read_bytes()
    ends = [*range(len(content) - 1, len(content) - 30, -7), *range(100, len(content), 997)]
    for length in ends:
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(content[:length])
        assert audited(cut).failed & CHAIN_CHECKS, length


def test_a_head_of_an_earlier_entry_does_not_close_a_longer_ledger(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    ledger = make_ledger()
    short = ledger.lines(ledger.entries()[:5])

    outcome = audited([*ledger.lines()[:-1], short[-1]])

    assert [one.sentence for one in outcome.errors("chain")] == [
        "names entry 4 as the last, which is not the one before it"
    ]


def test_without_a_roster_the_identity_is_not_said_to_be_checked(
    make_ledger: MakeLedger, audited: Audited
) -> None:
    outcome = audited(make_ledger(), roster=None, federation_key=None)

    assert outcome.check("identity").passed is None
    assert outcome.check("signatures").passed is True
