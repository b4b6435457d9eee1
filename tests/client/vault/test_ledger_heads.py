"""What a vault does about the heads of its ledger that a coordinator shows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerUnavailable, MemoryLedger
from fedward.client.vault.ledger_file import raw_of_file
from fedward.client.vault.vault import Vault
from fedward.common.ledger.chain import SignedEntry
from fedward.common.ledger.entries import BalanceStruck, HeadCountersigned, ReleaseReserved
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.protocol.queries import (
    CloseSessionQuery,
    OpenSessionQuery,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    Answer,
    Refusal,
    RefusalReason,
    SessionClosed,
    SessionOpened,
    SumRelease,
)
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.roster import Roster, SignedRoster, sign_roster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study

COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)
OTHER = SiteIdentity.from_private_bytes(b"o" * 32)
NOBODY = "0" * 64


@dataclass
class Site:
    """The vault of site-0 over a ledger in a file, and what a coordinator asks it."""

    study: Study
    vault: Vault
    ledger: DurableLedger
    path: Path
    federation: Any
    signed: SignedRoster

    def ask(self, query: OpenSessionQuery | CloseSessionQuery) -> Answer:
        frame = encode_query(query, {})
        answer, _ = open_sealed(self.vault.answer(frame)).answer_of(self.federation.keys["site-0"])
        assert isinstance(answer, SessionOpened | SessionClosed | Refusal)
        assert answer.query_digest == frame_digest(frame)
        return answer

    def open(self, *heads: KnownHead, **changes: Any) -> Answer:
        query = self.federation.query_for_session(
            self.study, session=2, signed=changes.pop("signed", self.signed)
        )
        return self.ask(query.model_copy(update={"heads": heads} | changes))

    def close(self, *heads: KnownHead, **changes: Any) -> Answer:
        fields: dict[str, Any] = {
            "run_id": "run",
            "study_digest": self.study.digest,
            "session": 2,
            "heads": heads,
        }
        return self.ask(CloseSessionQuery(**(fields | changes)))

    def head(self) -> LedgerHead:
        """The ledger's head, as a session's opening tells it."""
        answer = self.open()
        assert isinstance(answer, SessionOpened)
        assert answer.head is not None
        return answer.head

    def entries(self, kind: type) -> list[Any]:
        return [one.entry for one in self.chain() if isinstance(one.entry, kind)]

    def chain(self) -> list[SignedEntry]:
        """All that is in the ledger's file."""
        return [SignedEntry.model_validate_json(line) for line in raw_of_file(self.path).lines]


def seen(
    head: LedgerHead, *, run_id: str = "earlier", by: SiteIdentity | None = COORDINATOR
) -> KnownHead:
    return KnownHead.seen(head, run_id=run_id, coordinator=by)


@pytest.fixture
def make_site(
    study: Study,
    federation: Any,
    make_vault: Callable[..., Vault],
    open_ledger: Callable[..., DurableLedger],
    ledger_path: Path,
) -> Callable[..., Site]:
    """A site of a federation with a coordinator's key, or without one."""
    budget = CohortBudget(name="patients", delta=study.privacy.delta, epsilon_cap=9.0)

    def make(path: Path | None = None, *, coordinator: SiteIdentity | None = COORDINATOR) -> Site:
        path = path or ledger_path
        ledger = open_ledger(path, cohorts=[budget])
        key = None if coordinator is None else coordinator.public_key
        roster = Roster.of(federation.keys, federation="tests", coordinator_key=key)
        return Site(
            study=study,
            vault=make_vault(study, ledger=ledger),
            ledger=ledger,
            path=path,
            federation=federation,
            signed=sign_roster(roster, federation.key),
        )

    return make


def reason_of(answer: Answer) -> RefusalReason:
    assert isinstance(answer, Refusal), answer
    return answer.reason


def test_a_session_tells_the_ledgers_head(make_site: Callable[..., Site]) -> None:
    site = make_site()
    head = site.head()

    assert head == site.ledger.head()
    assert head.site == "site-0"
    assert head.is_signed_by(site.federation.keys["site-0"])
    assert not head.is_signed_by(site.federation.keys["site-1"])


def test_a_head_that_was_seen_is_noted_with_the_coordinators_signature(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    first = site.head()
    known = seen(first)
    answer = site.open(known)

    assert isinstance(answer, SessionOpened)
    (noted,) = site.entries(HeadCountersigned)
    assert (noted.head_sequence, noted.head_digest) == (first.sequence, first.digest)
    assert (noted.run_id, noted.signature) == ("earlier", known.countersignature)
    assert noted.coordinator_key == COORDINATOR.public_key.hex()
    # The head that goes back holds the note.
    assert answer.head == site.ledger.head()
    assert answer.head is not None
    assert answer.head.sequence == noted.sequence == first.sequence + 1


def test_heads_of_other_sites_are_not_its_business(make_site: Callable[..., Site]) -> None:
    site = make_site()
    before = site.head()
    other = LedgerHead.sign(OTHER, site="site-1", ledger_id="1" * 32, sequence=9, digest=NOBODY)

    assert isinstance(site.open(seen(other)), SessionOpened)
    assert site.head() == before


def test_an_older_copy_of_the_ledger_is_refused(
    make_site: Callable[..., Site],
    make_query: Callable[..., Any],
    ask: Callable[..., Any],
    tmp_path: Path,
    ledger_path: Path,
) -> None:
    site = make_site()
    old = site.head()
    site.ledger.close()
    backup = tmp_path / "backup.sqlite"
    shutil.copy(ledger_path, backup)
    site = make_site()
    assert isinstance(ask(site.vault, site.study, make_query(site.study))[0], SumRelease)
    newest = site.head()
    assert newest.sequence > old.sequence
    assert isinstance(site.open(seen(newest)), SessionOpened)
    restored = make_site(backup)

    # What the copy does hold is no reason to refuse.
    assert isinstance(restored.open(seen(old)), SessionOpened)
    before = restored.chain()
    for refuse in (restored.open, restored.close):
        answer = refuse(seen(newest))
        assert reason_of(answer) == RefusalReason.LEDGER_ROLLED_BACK
        assert isinstance(answer, Refusal)
        assert f"does not hold its entry {newest.sequence}" in answer.message
    assert restored.chain() == before
    assert restored.entries(ReleaseReserved) == []
    assert restored.entries(BalanceStruck) == []


def test_a_copy_that_went_another_way_is_refused(
    make_site: Callable[..., Site], tmp_path: Path, ledger_path: Path
) -> None:
    site = make_site()
    old = site.head()
    site.ledger.close()
    backup = tmp_path / "backup.sqlite"
    shutil.copy(ledger_path, backup)
    site, copy = make_site(), make_site(backup)
    site.open(seen(old, run_id="one"))
    copy.open(seen(old, run_id="another"))
    newest = site.head()

    assert copy.head().sequence == newest.sequence
    assert reason_of(copy.open(seen(newest))) == RefusalReason.LEDGER_ROLLED_BACK
    assert isinstance(site.open(seen(newest)), SessionOpened)


def test_another_ledger_in_its_place_is_refused(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    head = make_site().head()
    replaced = make_site(tmp_path / "new.sqlite")

    assert reason_of(replaced.open(seen(head))) == RefusalReason.LEDGER_ROLLED_BACK


def test_a_ledger_without_a_chain_holds_no_head(
    make_site: Callable[..., Site], make_vault: Callable[..., Vault], study: Study
) -> None:
    site = make_site()
    head = site.head()
    site.vault = make_vault(study, ledger=MemoryLedger())

    opened = site.open()
    assert isinstance(opened, SessionOpened)
    assert opened.head is None
    closed = site.close()
    assert isinstance(closed, SessionClosed)
    assert closed.head is None
    assert reason_of(site.open(seen(head))) == RefusalReason.LEDGER_ROLLED_BACK


FORGED: dict[str, Callable[[LedgerHead, Any], KnownHead]] = {
    "a changed number": lambda head, _: seen(
        head.model_copy(update={"sequence": head.sequence + 1})
    ),
    "signed by another site": lambda head, federation: seen(
        LedgerHead.sign(
            federation.identities["site-1"],
            site="site-0",
            ledger_id=head.ledger_id,
            sequence=head.sequence,
            digest=head.digest,
        )
    ),
    "seen by nobody": lambda head, _: seen(head, by=None),
    "without the coordinator's key": lambda head, _: seen(head).model_copy(
        update={"coordinator_key": None}
    ),
    "under another coordinator's key": lambda head, _: seen(head).model_copy(
        update={"coordinator_key": OTHER.public_key.hex()}
    ),
    "seen by another coordinator": lambda head, _: seen(head, by=OTHER),
    "seen by another in its name": lambda head, _: seen(head, by=OTHER).model_copy(
        update={"coordinator_key": COORDINATOR.public_key.hex()}
    ),
    "seen in another run": lambda head, _: seen(head).model_copy(update={"run_id": "other"}),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_head_that_was_never_signed_like_this_is_malformed(
    make_site: Callable[..., Site],
    federation: Any,
    forge: Callable[[LedgerHead, Any], KnownHead],
) -> None:
    site = make_site()
    head = site.head()

    for ask in (site.open, site.close):
        assert reason_of(ask(forge(head, federation))) == RefusalReason.MALFORMED
    assert site.head() == head


def test_without_a_coordinators_key_an_old_copy_is_refused_all_the_same(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site(coordinator=None)
    head = site.head()

    assert isinstance(site.open(seen(head, by=None)), SessionOpened)
    assert site.entries(HeadCountersigned) == []
    replaced = make_site(tmp_path / "new.sqlite", coordinator=None)
    assert reason_of(replaced.open(seen(head, by=None))) == RefusalReason.LEDGER_ROLLED_BACK


def test_closing_strikes_the_studys_balance(
    make_site: Callable[..., Site], make_query: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    site = make_site()
    head = site.head()
    release, _ = ask(site.vault, site.study, make_query(site.study))
    assert isinstance(release, SumRelease)
    closed = site.close(seen(head))

    assert isinstance(closed, SessionClosed)
    (balance,) = site.entries(BalanceStruck)
    (reserved,) = site.entries(ReleaseReserved)
    assert balance.cohort == "patients"
    assert balance.study_digest == site.study.digest
    assert balance.epsilon == pytest.approx(reserved.epsilon, rel=1e-6)
    assert balance.epsilon_alone == pytest.approx(reserved.epsilon_alone, rel=1e-6)
    (noted,) = site.entries(HeadCountersigned)
    assert noted.head_sequence == head.sequence
    assert closed.head is not None
    assert closed.head == site.ledger.head()
    assert closed.head.sequence == balance.sequence
    # Nothing was asked for in between, so a run that is closed again can go on.
    assert isinstance(site.open(seen(closed.head)), SessionOpened)


def test_a_release_tells_where_it_is_written_down(
    make_site: Callable[..., Site], make_query: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    site = make_site()
    release, _ = ask(site.vault, site.study, make_query(site.study))

    assert isinstance(release, SumRelease)
    assert release.ledger is not None
    signed = site.chain()[release.ledger.sequence]
    assert signed.digest == release.ledger.digest
    # It is the head of that moment, and the ledger has gone on since.
    assert release.ledger.is_signed_by(site.federation.keys["site-0"])
    assert release.ledger.ledger_id == site.ledger.head().ledger_id
    assert site.ledger.holds(release.ledger)
    assert site.ledger.head().sequence == release.ledger.sequence + 1
    assert isinstance(signed.entry, ReleaseReserved)
    assert signed.entry.query_digest == release.query_digest
    assert (signed.entry.study_name, signed.entry.sites) == (site.study.about.name, 3)
    assert (signed.entry.delta, signed.entry.holdout) == (
        site.study.privacy.delta,
        site.study.evaluation.holdout,
    )


def test_sessions_without_a_charge_write_nothing_for_good(
    make_site: Callable[..., Site], make_query: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    site = make_site()

    def sessions(count: int) -> int:
        """How many entries so many sessions write, each with the newest head."""
        before = len(site.chain())
        for _ in range(count):
            opened = site.open(seen(site.ledger.head()))
            assert isinstance(opened, SessionOpened)
            closed = site.close(seen(site.ledger.head()))
            assert isinstance(closed, SessionClosed)
            assert closed.head == site.ledger.head()
        return len(site.chain()) - before

    assert [sessions(1), sessions(5)] == [1, 0]
    assert isinstance(ask(site.vault, site.study, make_query(site.study))[0], SumRelease)
    assert [sessions(1), sessions(5)] == [2, 0]


def test_only_a_session_that_was_opened_can_be_closed(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    head = site.head()

    for changes in ({"session": 3}, {"run_id": "other"}):
        assert reason_of(site.close(**changes)) == RefusalReason.UNKNOWN_SESSION
    assert reason_of(site.close(study_digest=NOBODY)) == RefusalReason.STUDY_NOT_APPROVED
    assert site.head() == head


def test_an_unsigned_roster_notes_nothing(make_site: Callable[..., Site]) -> None:
    # Whoever writes their own roster would name their own coordinator.
    site = make_site()
    head = site.head()
    key = OTHER.public_key
    forged = sign_roster(
        Roster.of(site.federation.keys, federation="tests", coordinator_key=key), OTHER
    )

    assert (
        reason_of(site.open(seen(head, by=OTHER), signed=forged)) == RefusalReason.ROSTER_SIGNATURE
    )
    assert site.head() == head


class Failing(MemoryLedger):
    """A ledger whose file cannot be used for one thing."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def head(self) -> None:
        self._fail("head")

    def strike_balance(self, study_digest: str) -> None:
        self._fail("strike_balance")

    def _fail(self, method: str) -> None:
        if method == self.method:
            raise LedgerUnavailable(
                source="/srv/miller/ledger", field="", problem="is full", fix="make room"
            )


@pytest.mark.parametrize("method", ["head", "strike_balance"])
def test_a_ledger_that_cannot_be_used_is_refused_without_its_path(
    make_site: Callable[..., Site],
    make_vault: Callable[..., Vault],
    study: Study,
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = make_site()
    site.vault = make_vault(study, ledger=Failing(method))
    answers = [site.open(), site.close()]
    refused = answers[1]

    assert isinstance(answers[0], Refusal) == (method == "head")
    assert reason_of(refused) == RefusalReason.LEDGER_UNAVAILABLE
    assert isinstance(refused, Refusal)
    assert refused.message == "site-0 cannot use its ledger at present"
    assert "/srv/miller/ledger" in caplog.text


def test_closing_and_opening_read_no_record(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a record was read")

    monkeypatch.setattr("fedward.client.cohort.Cohort.__getattribute__", read)
    assert isinstance(site.open(), SessionOpened)
    assert isinstance(site.close(), SessionClosed)
