"""A site that restores an old copy of its ledger has forgotten releases: others can tell."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerUnavailable
from fedward.client.vault.vault import Vault
from fedward.common.ledger.heads import KnownHead
from fedward.common.protocol.queries import AnySumQuery, CloseSessionQuery, encode_query
from fedward.common.protocol.releases import (
    Answer,
    Refusal,
    RefusalReason,
    SessionOpened,
    SumRelease,
)
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study

COORDINATOR = SiteIdentity.generate()
ARRAYS = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}
Ask = Callable[..., Answer]


@pytest.fixture
def vault_of(make_vault: Callable[..., Vault], study: Study) -> Callable[..., Vault]:
    return lambda ledger, **options: make_vault(study, ledger=ledger, **options)


@pytest.fixture
def session_with(federation: Any, study: Study) -> Callable[..., Answer]:
    """Open a session as a coordinator that knows these heads."""

    def opened(vault: Vault, *heads: KnownHead) -> Answer:
        query = federation.query_for_session(study, session=2).model_copy(update={"heads": heads})
        sealed = open_sealed(vault.answer(encode_query(query, {})))
        return sealed.answer_of(federation.keys["site-0"])[0]

    return opened


@pytest.fixture
def close_with(federation: Any, study: Study) -> Callable[..., Answer]:
    """Close the session that every vault of these tests is in."""

    def closed(vault: Vault, *heads: KnownHead) -> Answer:
        query = CloseSessionQuery(run_id="run", study_digest=study.digest, session=1, heads=heads)
        sealed = open_sealed(vault.answer(encode_query(query, {})))
        return sealed.answer_of(federation.keys["site-0"])[0]

    return closed


def known(answer: Answer) -> KnownHead:
    assert isinstance(answer, SessionOpened), answer
    assert answer.head is not None
    return KnownHead.seen(answer.head, run_id="run", coordinator=COORDINATOR)


@pytest.fixture
def sum_of(federation: Any, study: Study, make_query: Callable[..., AnySumQuery]) -> Ask:
    """Ask for one round's sum."""

    def asked(vault: Vault, number: int = 1) -> Answer:
        sealed = open_sealed(vault.answer(encode_query(make_query(study, round=number), ARRAYS)))
        return sealed.answer_of(federation.keys["site-0"])[0]

    return asked


@dataclass
class Restored:
    """A ledger of which an older copy was put back, and heads from before and after that copy."""

    ledger: DurableLedger
    early: KnownHead
    late: KnownHead


@pytest.fixture
def restored(
    open_ledger: Callable[..., DurableLedger],
    ledger_path: Path,
    vault_of: Callable[..., Vault],
    session_with: Callable[..., Answer],
    sum_of: Ask,
) -> Restored:
    ledger = open_ledger()
    early = known(session_with(vault_of(ledger)))
    ledger.close()
    copy = ledger_path.with_suffix(".copy")
    shutil.copy(ledger_path, copy)
    ledger = open_ledger()
    vault = vault_of(ledger)
    assert isinstance(sum_of(vault), SumRelease)
    late = known(session_with(vault, early))
    assert late.head.sequence == early.head.sequence + 2
    ledger.close()
    copy.replace(ledger_path)
    # The site itself notices, but for somebody who restored a whole folder.
    with pytest.raises(LedgerUnavailable, match="lacks entry 2, which was written before"):
        open_ledger()
    Path(f"{ledger_path}.lock").unlink()
    return Restored(open_ledger(), early, late)  # every entry of it is sound


def rolled_back(answer: Answer, entry: int) -> bool:
    assert isinstance(answer, Refusal), answer
    assert f"does not hold its entry {entry}" in answer.message
    return answer.reason == RefusalReason.LEDGER_ROLLED_BACK


def test_a_restored_copy_is_refused_by_the_head_that_it_lacks(
    restored: Restored,
    vault_of: Callable[..., Vault],
    session_with: Callable[..., Answer],
    sum_of: Ask,
) -> None:
    before = restored.ledger.head()
    late = restored.late.head.sequence
    assert rolled_back(session_with(vault_of(restored.ledger), restored.late), late)
    assert restored.ledger.head() == before
    # Other releases in place of the forgotten ones make no other chain that would pass.
    vault = vault_of(restored.ledger)
    for number in (1, 2):
        assert isinstance(sum_of(vault, number), SumRelease)
    assert restored.ledger.head().sequence >= late
    assert rolled_back(session_with(vault, restored.late), late)


@pytest.mark.parametrize("closing", [False, True], ids=["opening", "closing"])
def test_a_vault_that_saw_a_head_that_it_lacks_answers_nothing_any_more(
    restored: Restored,
    vault_of: Callable[..., Vault],
    session_with: Callable[..., Answer],
    close_with: Callable[..., Answer],
    sum_of: Ask,
    closing: bool,
) -> None:
    vault, late = vault_of(restored.ledger), restored.late.head.sequence
    assert rolled_back((close_with if closing else session_with)(vault, restored.late), late)
    before = restored.ledger.head()

    # Whatever it is shown from then on: what it holds, nothing, or a session that it has joined.
    for _ in range(2):
        assert rolled_back(session_with(vault, restored.early), late)
        assert rolled_back(session_with(vault), late)
        assert rolled_back(close_with(vault, restored.early), late)
        assert rolled_back(close_with(vault), late)
        assert rolled_back(sum_of(vault), late)
    assert restored.ledger.head() == before
    # A new start is for people to decide, who may have put the newest copy in its place.
    assert isinstance(session_with(vault_of(restored.ledger), restored.early), SessionOpened)


def test_the_session_that_was_refused_has_no_key(
    restored: Restored,
    vault_of: Callable[..., Vault],
    session_with: Callable[..., Answer],
    federation: Any,
) -> None:
    desk = federation.desk("site-0")
    vault = vault_of(restored.ledger, sessions=desk)
    assert isinstance(session_with(vault, restored.late), Refusal)
    assert not desk._opened


def test_a_new_ledger_is_refused_by_the_head_of_the_old_one(
    open_ledger: Callable[..., DurableLedger],
    tmp_path: Path,
    vault_of: Callable[..., Vault],
    session_with: Callable[..., Answer],
) -> None:
    first = known(session_with(vault_of(open_ledger())))
    second = vault_of(open_ledger(tmp_path / "new.sqlite"))

    answer = session_with(second, first)
    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.LEDGER_ROLLED_BACK
