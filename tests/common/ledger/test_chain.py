from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.ledger.chain import SignedEntry, canonical, entry_of, signed
from fedward.common.ledger.entries import Entry
from fedward.common.secure_sum.signatures import SiteIdentity


@given(data=st.data())
def test_an_entry_comes_back_from_its_canonical_text_to_the_last_bit(
    entries: st.SearchStrategy[Entry], data: st.DataObject
) -> None:
    entry = data.draw(entries)
    text = canonical(entry)

    assert entry_of(text) == entry
    assert canonical(entry_of(text)) == text
    assert json.loads(text) == entry.model_dump(mode="json")


@given(data=st.data())
def test_no_other_text_is_an_entrys(entries: st.SearchStrategy[Entry], data: st.DataObject) -> None:
    text = canonical(data.draw(entries))
    where = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(exclude_categories=["Cs"]))
    changed = text[:where] + letter + text[where + 1 :]
    try:
        found = entry_of(changed)
    except ValueError:
        return
    # It says something else, and says it canonically.
    assert canonical(found) == changed


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " ",
        lambda text: text.replace(":", ": ", 1),
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")),
        lambda text: text.replace('"behind":0', '"behind":0,"behind":0'),
        lambda text: text.replace('"behind":0', '"behind":-0'),
        lambda text: text.replace('"behind":0', '"behind":0.0'),
        lambda text: text.replace('"behind":0', '"behind":"0"'),
        lambda text: text.replace("1.5", "1.50"),
        lambda text: text.replace("raised", "\\u0072aised"),
        lambda text: text.replace('"kind"', '"more":0,"kind"'),
    ],
)
def test_the_same_in_another_form_is_no_entry(change: Any) -> None:
    text = canonical(
        {
            "kind": "budget_raised",
            "sequence": 3,
            "previous": "0" * 64,
            "time": "2026-03-01T12:00:00Z",
            "behind": 0,
            "cohort": "patients",
            "epsilon_cap": 1.5,
            "epsilon_alone_cap": None,
            "reason": "é",
        }
    )
    entry_of(text)
    assert change(text) != text

    with pytest.raises(ValueError, match=r"canonical|Input should|not permitted"):
        entry_of(change(text))


@given(data=st.data())
def test_a_signature_holds_for_its_entry_and_key_alone(
    entries: st.SearchStrategy[Entry], identity: SiteIdentity, data: st.DataObject
) -> None:
    entry, other = data.draw(entries), data.draw(entries)
    found = signed(entry, identity)

    assert found.is_signed_by(identity.public_key)
    assert not found.is_signed_by(SiteIdentity.generate().public_key)
    moved = SignedEntry(entry=other, signature=found.signature)
    assert moved.is_signed_by(identity.public_key) == (entry == other)


@given(data=st.data())
def test_a_digest_is_verified_only_under_the_key_that_signed_it(
    entries: st.SearchStrategy[Entry], identity: SiteIdentity, data: st.DataObject
) -> None:
    found = signed(data.draw(entries), identity)

    assert found.verified_digest(identity.public_key) == found.digest
    assert found.verified_digest(SiteIdentity.generate().public_key) is None
