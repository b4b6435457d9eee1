from __future__ import annotations

from pathlib import Path

import pytest

from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.head_book import HeadBook, HeadFile, MemoryHeads

SITE = SiteIdentity.from_private_bytes(b"s" * 32)
COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)


def known(site: str, sequence: int, *, ledger_id: str = "1" * 32) -> KnownHead:
    head = LedgerHead.sign(
        SITE, site=site, ledger_id=ledger_id, sequence=sequence, digest=f"{sequence:064x}"
    )
    return KnownHead.seen(head, run_id="run", coordinator=COORDINATOR)


@pytest.fixture(params=["memory", "file"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> HeadBook:
    return MemoryHeads() if request.param == "memory" else HeadFile(tmp_path / "heads.json")


def test_a_book_holds_the_last_head_of_each_site_in_order(book: HeadBook) -> None:
    assert book.known() == ()
    book.keep([known("b", 3), known("a", 1)])
    book.keep([known("b", 7)])
    book.keep([])

    assert book.known() == (known("a", 1), known("b", 7))


def test_a_book_keeps_the_higher_head_of_a_ledger(book: HeadBook) -> None:
    # As of two runs at once, of which one knows less.
    book.keep([known("a", 7), known("b", 2)])
    book.keep([known("a", 3), known("b", 5)])
    assert book.known() == (known("a", 7), known("b", 5))

    replaced = known("a", 1, ledger_id="2" * 32)
    book.keep([replaced])
    assert book.known() == (replaced, known("b", 5))


def test_a_file_outlives_its_coordinator(tmp_path: Path) -> None:
    HeadFile(tmp_path / "heads.json").keep([known("a", 1), known("b", 2)])
    found = HeadFile(tmp_path / "heads.json").known()

    assert [one.head.site for one in found] == ["a", "b"]
    assert all(one.is_countersigned_by(COORDINATOR.public_key) for one in found)
    assert [path.name for path in tmp_path.iterdir()] == ["heads.json"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format":"fedward-heads-2","heads":[]}', '{"heads":[{}]}', "\xff"]
)
def test_a_file_that_is_no_book_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "heads.json"
    path.write_text(text, encoding="latin-1")

    for use in (HeadFile(path).known, lambda: HeadFile(path).keep([known("a", 1)])):
        with pytest.raises(InputError, match=r"heads\.json: is no book of ledger heads; restore"):
            use()
    assert path.read_text(encoding="latin-1") == text


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        HeadFile(tmp_path).known()
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\)"):
        HeadFile(tmp_path / "missing" / "heads.json").keep([known("a", 1)])


def test_a_file_beyond_all_bounds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = HeadFile(tmp_path / "heads.json")
    book.keep([known("a", 1)])
    size = (tmp_path / "heads.json").stat().st_size
    monkeypatch.setattr("fedward.server.head_book.MAX_BOOK_BYTES", size)
    assert book.known() == (known("a", 1),)
    monkeypatch.setattr("fedward.server.head_book.MAX_BOOK_BYTES", size - 1)

    with pytest.raises(InputError, match="is no book"):
        book.known()
