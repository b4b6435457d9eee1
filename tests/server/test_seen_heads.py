from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.errors import CoordinationError
from fedward.server.head_book import MemoryHeads
from fedward.server.seen_heads import SeenHeads

Federate = Callable[..., Any]
COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)
OTHER = SiteIdentity.from_private_bytes(b"o" * 32)


@pytest.fixture
def federation(federate: Federate) -> Any:
    """Sites a, b and c with ledgers of 10 entries."""
    found = federate(coordinator=COORDINATOR)
    for site in found.sites.values():
        site.entries = 10
    return found


@pytest.fixture
def seen(federation: Any) -> SeenHeads:
    """What a coordinator knows that has seen entry 9 of site a."""
    heads: SeenHeads = federation.seen_heads()
    heads.keep({"a": federation.sites["a"].head()})
    return heads


def test_a_head_is_kept_under_the_coordinators_signature(federation: Any) -> None:
    book = MemoryHeads()
    heads = federation.seen_heads(book, run_id="the/run")
    heads.keep({name: site.head() for name, site in federation.sites.items()})

    assert [known.head.site for known in heads.known] == ["a", "b", "c"]
    assert book.known() == heads.known
    for known in heads.known:
        assert known.run_id == "the/run"
        assert known.is_countersigned_by(COORDINATOR.public_key)
        assert not known.is_countersigned_by(OTHER.public_key)


def test_a_ledger_that_goes_on_is_believed(federation: Any, seen: SeenHeads) -> None:
    site = federation.sites["a"]
    assert seen.failure("a", site.head()) is None
    site.entries = 500
    assert seen.failure("a", site.head()) is None
    assert seen.failure("b", federation.sites["b"].head()) is None
    assert seen.failure("b", None) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sequence": 8}, "shows a ledger that went back from entry 9 to 8"),
        ({"sequence": 0}, "shows a ledger that went back from entry 9 to 0"),
        ({"digest": "f" * 64}, "shows another entry 9 of its ledger than before"),
        ({"ledger_id": "2" * 32}, "shows another ledger than before"),
        ({"ledger_id": "2" * 32, "sequence": 99}, "shows another ledger than before"),
        ({"site": "b"}, "shows a head of its ledger that it did not sign"),
    ],
)
def test_a_ledger_that_went_back_fails_its_site_for_good(
    federation: Any, seen: SeenHeads, changes: dict[str, Any], why: str
) -> None:
    failure = seen.failure("a", federation.sites["a"].head(**changes))

    assert failure is not None
    assert failure.why == why
    assert not failure.charged
    assert not failure.may_pass


def test_a_release_is_reserved_beyond_all_that_was_seen(federation: Any, seen: SeenHeads) -> None:
    site = federation.sites["a"]
    for head, why in (
        (site.head(), "names entry 9 of its ledger, which was there before"),
        (site.head(sequence=8), "went back from entry 9 to 8"),
        (site.head(sequence=10, ledger_id="2" * 32), "another ledger"),
        (site.head(sequence=10).model_copy(update={"sequence": 11}), "did not sign"),
        (None, "no head of its ledger any more"),
    ):
        failure = seen.failure_of_release("a", head)
        assert failure is not None
        assert why in failure.why
        # It has answered, so it is charged, and it is not asked again.
        assert failure.charged
        assert not failure.may_pass
    assert seen.failure_of_release("a", site.head(sequence=10)) is None
    assert seen.failure_of_release("b", federation.sites["b"].head()) is None
    assert seen.failure_of_release("b", None) is None


class CountingBook(MemoryHeads):
    """Remembers which sites' heads were kept together, and whether it can be written."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[list[str]] = []
        self.full = False

    def keep(self, heads: Iterable[KnownHead]) -> None:
        if self.full:
            raise InputError(source="heads.json", field="", problem="is full", fix="make room")
        heads = list(heads)
        self.kept.append([known.head.site for known in heads])
        super().keep(heads)


def test_what_is_noted_is_known_at_once_and_saved_together(federation: Any) -> None:
    book = CountingBook()
    heads = federation.seen_heads(book)
    for name in "ba":
        heads.note(name, federation.sites[name].head())
    assert [known.head.site for known in heads.known] == ["a", "b"]
    assert book.kept == []

    heads.save()
    heads.save()
    assert book.kept == [["a", "b"]]
    assert book.known() == heads.known


def test_what_could_not_be_saved_is_saved_with_the_next(federation: Any) -> None:
    book = CountingBook()
    heads = federation.seen_heads(book)
    book.full = True
    heads.keep({"a": federation.sites["a"].head()})
    assert "is full" in str(heads.unsaved)
    assert heads.failure("a", federation.sites["a"].head(sequence=3)) is not None

    book.full = False
    heads.keep({"b": federation.sites["b"].head()})
    assert heads.unsaved is None
    assert book.kept == [["a", "b"]]


def test_a_head_that_is_missing_or_forged_is_not_believed(federation: Any, seen: SeenHeads) -> None:
    missing = seen.failure("a", None)
    forged = federation.sites["a"].head().model_copy(update={"sequence": 50})

    assert missing is not None
    assert "no head of its ledger any more" in missing.why
    for site in "ab":
        failure = seen.failure(site, forged)
        assert failure is not None
        assert "did not sign" in failure.why


def test_what_a_book_holds_of_others_is_left_alone(federation: Any, federate: Federate) -> None:
    book = MemoryHeads()
    stranger = federate("z", coordinator=COORDINATOR)
    stranger.sites["z"].entries = 4
    stranger.seen_heads(book).keep({"z": stranger.sites["z"].head()})
    # A site whose key is another now, in whose ledger the old one's entries cannot be.
    replaced = federation.sites["b"].head()
    signed = replaced.sign(
        OTHER, site="b", ledger_id=replaced.ledger_id, sequence=40, digest=replaced.digest
    )
    book.keep([KnownHead.seen(signed, run_id="old", coordinator=COORDINATOR)])
    heads = federation.seen_heads(book)

    assert heads.known == ()
    assert heads.failure("b", replaced) is None
    assert [known.head.site for known in book.known()] == ["b", "z"]


def test_a_new_coordinator_signs_what_the_last_one_has_seen(
    federation: Any, federate: Federate
) -> None:
    book = MemoryHeads()
    federation.seen_heads(book).keep({"a": federation.sites["a"].head()})
    known = federate(coordinator=OTHER).seen_heads(book).known

    assert [one.head for one in known] == [federation.sites["a"].head()]
    assert known[0].is_countersigned_by(OTHER.public_key)


@pytest.mark.parametrize(
    ("named", "own"), [(COORDINATOR, OTHER), (COORDINATOR, None), (None, COORDINATOR)]
)
def test_only_the_coordinator_of_the_roster_may_run(
    federate: Federate, named: SiteIdentity | None, own: SiteIdentity | None
) -> None:
    roster = federate(coordinator=named).signed_roster.roster

    with pytest.raises(CoordinationError, match="names another coordinator's key"):
        SeenHeads(MemoryHeads(), run_id="run", roster=roster, coordinator=own)


def test_without_a_key_heads_are_kept_unsigned(federate: Federate) -> None:
    federation = federate()
    federation.sites["a"].entries = 3
    heads = federation.seen_heads()
    heads.keep({"a": federation.sites["a"].head()})

    assert heads.known[0].countersignature is None
    assert heads.failure("a", federation.sites["a"].head(sequence=1)) is not None
