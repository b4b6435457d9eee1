from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.errors import InputError
from fedward.common.ledger.chain import canonical
from fedward.common.ledger.heads import LedgerPosition
from fedward.common.protocol.releases import ExecutedNoise
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_log import read_run_log, write_run_log

Federate = Callable[..., Any]
COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)
OTHER = SiteIdentity.from_private_bytes(b"o" * 32)
RECORDS = tuple(
    ReleaseRecord(
        site=site,
        kind="training",
        session=1,
        round=number,
        attempt=1,
        query_digest=f"{number:064x}",
        release_digest=None if (lost := site == "b" and number == 2) else f"{number + 99:064x}",
        executed=ExecutedNoise(
            noise_multiplier=2.5, share_multiplier=1.25, sampling_rate=0.1, count=1
        ),
        masked=not lost,
        bytes=100,
        query_bytes=10,
        summed=number != 2,
        charged=True,
        failure="no reply in time" if lost else None,
        ledger=None if lost else LedgerPosition(sequence=2 * number, digest="8" * 64),
    )
    for number in (1, 2)
    for site in "ab"
)


@pytest.fixture
def write(federate: Federate, study: Study, tmp_path: Path) -> Callable[..., Path]:
    """Writes a log of two sites that were asked twice."""

    def make(coordinator: SiteIdentity | None = COORDINATOR) -> Path:
        federation = federate("ab", coordinator=coordinator)
        for site in federation.sites.values():
            site.entries = 10
        heads = federation.seen_heads()
        heads.keep({name: site.head() for name, site in federation.sites.items()})
        path = tmp_path / "coordinator.jsonl"
        write_run_log(
            path,
            run_id="the/run",
            study=study,
            signed_roster=federation.signed_roster,
            records=RECORDS,
            heads=reversed(heads.known),
            coordinator=coordinator,
        )
        return path

    return make


def test_a_log_comes_back(write: Callable[..., Path], study: Study) -> None:
    log = read_run_log(write())

    assert log.records == RECORDS
    assert log.study == study
    assert (log.started.run_id, log.started.study_digest) == ("the/run", study.digest)
    assert log.started.signed_roster.roster.names == ("a", "b")
    assert [known.head.site for known in log.heads] == ["a", "b"]
    assert log.closing.coordinator_key == COORDINATOR.public_key.hex()
    assert log.is_signed_by(COORDINATOR.public_key)
    assert not log.is_signed_by(OTHER.public_key)


def test_each_line_is_the_digest_of_all_before_it(write: Callable[..., Path]) -> None:
    digest = bytes(32)
    for line in write().read_text().splitlines():
        found = json.loads(line)
        digest = hashlib.sha256(digest + canonical(found["body"]).encode()).digest()
        assert line == canonical({"body": found["body"], "digest": digest.hex()})


def test_a_coordinator_without_a_key_signs_nothing(write: Callable[..., Path]) -> None:
    log = read_run_log(write(None))

    assert log.records == RECORDS
    assert log.closing.signature is None
    assert not log.is_signed_by(COORDINATOR.public_key)


def test_a_changed_byte_is_found_in_its_line(write: Callable[..., Path]) -> None:
    path = write()
    whole = path.read_bytes()

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def check(place: int, change: int) -> None:
        changed = bytearray(whole)
        changed[place] ^= change
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            read_run_log(path)
        number = 1 + whole[:place].count(b"\n")
        assert caught.value.field == f"line {number}"

    check()


def test_the_signature_is_under_every_line(write: Callable[..., Path]) -> None:
    # Whoever changes a line and all digests after it cannot sign.
    path = write()
    bodies = [json.loads(line)["body"] for line in path.read_text().splitlines()]
    bodies[1]["record"]["charged"] = False
    digest, lines = bytes(32), []
    for body in bodies:
        digest = hashlib.sha256(digest + canonical(body).encode()).digest()
        lines.append(canonical({"body": body, "digest": digest.hex()}))
    path.write_text("".join(f"{line}\n" for line in lines))
    log = read_run_log(path)

    assert not log.records[0].charged
    assert not log.is_signed_by(COORDINATOR.public_key)


Lines = list[str]


def rebuilt(bodies: list[dict[str, Any]]) -> Lines:
    digest, lines = bytes(32), []
    for body in bodies:
        digest = hashlib.sha256(digest + canonical(body).encode()).digest()
        lines.append(canonical({"body": body, "digest": digest.hex()}) + "\n")
    return lines


CHANGES: dict[str, tuple[Callable[[Lines], Lines], int]] = {
    "nothing": (lambda _: [], 1),
    "no first line": (lambda lines: lines[1:], 1),
    "a line less": (lambda lines: [*lines[:2], *lines[3:]], 3),
    "two lines swapped": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
    "a line twice": (lambda lines: [*lines[:2], *lines[1:]], 3),
    "no signature": (lambda lines: lines[:-1], 7),
    "no heads": (lambda lines: lines[:-2], 6),
    "cut off": (lambda lines: [*lines[:-1], lines[-1][:-1]], 7),
    "a line more": (lambda lines: [*lines, lines[1]], 8),
    "an empty line": (lambda lines: [lines[0], "\n", *lines[1:]], 2),
    "no JSON": (lambda lines: ["{\n", *lines], 1),
    "a list": (lambda lines: ["[]\n", *lines], 1),
    "very deep": (lambda lines: ["[" * 10**5 + "\n", *lines], 1),
    "a space": (lambda lines: [lines[0].replace('"body":', '"body": '), *lines[1:]], 1),
}


@pytest.mark.parametrize(("change", "number"), CHANGES.values(), ids=CHANGES)
def test_other_lines_are_refused_by_number(
    write: Callable[..., Path], change: Callable[[Lines], Lines], number: int
) -> None:
    path = write()
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 7
    path.write_text("".join(change(lines)))

    with pytest.raises(InputError, match=rf"coordinator\.jsonl: line {number} .*; ask"):
        read_run_log(path)


Bodies = list[dict[str, Any]]
MISPLACED: dict[str, tuple[Callable[[Bodies], Bodies], int, str]] = {
    "begun twice": (lambda bodies: [bodies[0], *bodies], 2, "out of place"),
    "signed before the heads": (lambda bodies: [*bodies[:5], bodies[6]], 6, "out of place"),
    "heads twice": (lambda bodies: [*bodies[:6], *bodies[5:]], 7, "out of place"),
    "a release after the heads": (
        lambda bodies: [*bodies[:6], bodies[1], bodies[6]],
        7,
        "out of place",
    ),
    "an unknown kind": (
        lambda bodies: [bodies[0], bodies[1] | {"kind": "more"}, *bodies[2:]],
        2,
        "says what no log says",
    ),
    "another format": (
        lambda bodies: [bodies[0] | {"format": "fedward-log-2"}, *bodies[1:]],
        1,
        "says what no log says",
    ),
    "another study": (
        lambda bodies: [bodies[0] | {"study_digest": "0" * 64}, *bodies[1:]],
        1,
        "holds another study",
    ),
    "no study": (lambda bodies: [bodies[0] | {"study": {}}, *bodies[1:]], 1, "holds no study"),
}


@pytest.mark.parametrize(("change", "number", "why"), MISPLACED.values(), ids=MISPLACED)
def test_a_chain_of_wrong_lines_is_refused(
    write: Callable[..., Path], change: Callable[[Bodies], Bodies], number: int, why: str
) -> None:
    path = write()
    bodies = [json.loads(line)["body"] for line in path.read_text().splitlines()]
    path.write_text("".join(rebuilt(bodies)))
    read_run_log(path)
    path.write_text("".join(rebuilt(change(bodies))))

    with pytest.raises(InputError, match=rf"line {number} .*{why}"):
        read_run_log(path)


def test_a_line_beyond_all_bounds_is_refused(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    longest = max(len(line) for line in path.read_bytes().splitlines(keepends=True))
    monkeypatch.setattr("fedward.server.run_log.MAX_LINE_BYTES", longest - 1)
    read_run_log(path)
    monkeypatch.setattr("fedward.server.run_log.MAX_LINE_BYTES", longest - 2)

    with pytest.raises(InputError, match="cut off or too long"):
        read_run_log(path)


def test_a_log_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_run_log(tmp_path / "missing.jsonl")
