from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.common.errors import InputError
from fedward.common.ledger import export
from fedward.common.ledger.chain import SignedEntry
from fedward.common.ledger.entries import Entry
from fedward.common.ledger.export import (
    export_lines,
    head_of,
    raw_of_export,
    read_export,
    signed_entry_of,
)
from fedward.common.ledger.heads import LedgerHead
from fedward.common.secure_sum.signatures import SiteIdentity

ChainOf = Callable[[list[Entry]], tuple[SignedEntry, ...]]


def head_at_the_end(chain: tuple[SignedEntry, ...], identity: SiteIdentity) -> LedgerHead:
    return LedgerHead.sign(
        identity,
        site="site-0",
        ledger_id="a" * 32,
        sequence=len(chain) - 1,
        digest=chain[-1].digest,
    )


def write(path: Path, chain: tuple[SignedEntry, ...], head: LedgerHead) -> None:
    text = "".join(f"{line}\n" for line in export_lines(chain, head))
    path.write_bytes(text.encode())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_export_comes_back(
    entries: st.SearchStrategy[Entry],
    chain_of: ChainOf,
    identity: SiteIdentity,
    tmp_path: Path,
    data: st.DataObject,
) -> None:
    chain = chain_of(data.draw(st.lists(entries, min_size=1, max_size=5)))
    head = head_at_the_end(chain, identity)
    path = tmp_path / "ledger.jsonl"
    write(path, chain, head)

    assert read_export(path) == (chain, head)
    raw = raw_of_export(path)
    assert raw.source == str(path)
    assert tuple(map(signed_entry_of, raw.lines)) == chain
    assert raw.head_line is not None
    assert head_of(raw.head_line) == head


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_anywhere_is_found_in_its_line(
    entries: st.SearchStrategy[Entry],
    chain_of: ChainOf,
    identity: SiteIdentity,
    tmp_path: Path,
    data: st.DataObject,
) -> None:
    chain = chain_of(data.draw(st.lists(entries, min_size=1, max_size=3)))
    head = head_at_the_end(chain, identity)
    path = tmp_path / "ledger.jsonl"
    write(path, chain, head)
    before, content = raw_of_export(path), bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    line = content[:where].count(b"\n")
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    after = raw_of_export(path)
    lines_before = [*before.lines, before.head_line]
    lines_after = [*after.lines, after.head_line]
    assert lines_after[:line] == lines_before[:line]
    assert lines_after[line] != lines_before[line]
    if line < len(chain):
        try:
            changed = signed_entry_of(str(lines_after[line]))
        except ValueError:
            return
        # It is an entry still, with a signature that is not its own.
        assert not changed.is_signed_by(identity.public_key)
    elif after.head_line is not None:
        try:
            changed_head = head_of(after.head_line)
        except ValueError:
            return
        assert not changed_head.is_signed_by(identity.public_key)


@pytest.fixture
def path(
    chain_of: ChainOf, identity: SiteIdentity, tmp_path: Path, entries: st.SearchStrategy[Entry]
) -> Path:
    """An export of two entries."""
    from fedward.common.ledger.entries import ReleaseAbandoned

    found: list[Entry] = [
        ReleaseAbandoned(
            sequence=number,
            previous="0" * 64,
            time="2026-03-01T12:00:00Z",
            of=0,
            reason="ein Fehler über alle Maßen",
        )
        for number in range(2)
    ]
    chain = chain_of(found)
    write(tmp_path / "ledger.jsonl", chain, head_at_the_end(chain, identity))
    return tmp_path / "ledger.jsonl"


UNUSABLE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "empty": ("does not end with a ledger's head", lambda _: b""),
    "no head": (
        "does not end with a ledger's head",
        lambda text: b"".join(text.splitlines(keepends=True)[:-1]),
    ),
    "cut off": ("does not end with a ledger's head", lambda text: text[: len(text) // 2]),
    "a blank line": ("line 2 is no entry", lambda text: text.replace(b"\n", b"\n\n", 1)),
    "Windows' line ends": ("line 1 is no entry", lambda text: text.replace(b"\n", b"\r\n")),
    "no UTF-8": ("line 1 is no entry", lambda text: text.replace("ü".encode(), b"\xff", 1)),
    "an unknown field": (
        r"line 1 is no entry \(entry.abandoned.more: Extra inputs",
        lambda text: text.replace(b'"of":0', b'"more":0,"of":0', 1),
    ),
    "two heads": ("line 3 is no entry", lambda text: text + text.splitlines()[-1] + b"\n"),
    "a head in another form": (
        "line 3 is no head",
        lambda text: text.replace(b'{"head":{', b'{"head":{ '),
    ),
    "a line without end": ("line 1 is too long", lambda text: b"x" * (1 << 17) + text),
}


@pytest.mark.parametrize(("problem", "change"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_export_is_named_by_its_line(
    path: Path, problem: str, change: Callable[[bytes], bytes]
) -> None:
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(InputError, match=problem) as caught:
        read_export(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MOST_EXPORT_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match="is too large"):
        raw_of_export(path)
    monkeypatch.setattr(export, "MOST_EXPORT_BYTES", path.stat().st_size)
    assert len(raw_of_export(path).lines) == 2


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        raw_of_export(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match=r"is no file"):
        raw_of_export(tmp_path)
