from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    CloseSessionQuery,
    CountsQuery,
    EvaluationQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    MomentsQuery,
    OpenSessionQuery,
    Query,
    SiteEvaluationQuery,
    decode_query,
    encode_query,
    frame_digest,
)
from fedward.common.secure_sum.roster import Roster, RosterSite, SignedRoster
from fedward.common.secure_sum.session import SessionOffer

DIGEST = "0123456789abcdef" * 4
KEY, SIGNATURE = "4" * 64, "6" * 128
ROSTER: dict[str, Any] = {
    "federation": "heart",
    "serial": 1,
    "sites": [{"site": "a", "identity_key": "1" * 64}, {"site": "b", "identity_key": "2" * 64}],
}
OPEN: dict[str, Any] = {
    "protocol": 3,
    "kind": "open_session",
    "run_id": "run",
    "study_digest": DIGEST,
    "session": 1,
    "signed_roster": {"roster": ROSTER, "signature": SIGNATURE},
}
CLOSE: dict[str, Any] = {
    "protocol": 3,
    "kind": "close_session",
    "run_id": "run",
    "study_digest": DIGEST,
    "session": 1,
}
HEAD: dict[str, Any] = {
    "site": "a",
    "ledger_id": "1" * 32,
    "sequence": 7,
    "digest": DIGEST,
    "signature": SIGNATURE,
}
KNOWN: dict[str, Any] = {
    "head": HEAD,
    "run_id": "run",
    "coordinator_key": KEY,
    "countersignature": SIGNATURE,
}
SUM: dict[str, Any] = {
    "protocol": 3,
    "kind": "moments",
    "run_id": "run",
    "study_digest": DIGEST,
    "session": 1,
    "roster": ["a", "b"],
    "round": 0,
    "attempt": 1,
}
OFFER: dict[str, Any] = {
    "site": "a",
    "run_id": "run",
    "study_digest": DIGEST,
    "roster_digest": DIGEST,
    "session": 1,
    "key": KEY,
    "signature": SIGNATURE,
}
MODEL = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}
GRADIENT: dict[str, Any] = SUM | {"kind": "gradient_sum"}
SUM_KINDS = (
    MomentsQuery,
    CountsQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    EvaluationQuery,
    SiteEvaluationQuery,
)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
SIGNATURES = st.binary(min_size=64, max_size=64).map(bytes.hex)
PLACE = {
    "run_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}", fullmatch=True),
    "study_digest": HEX,
    "session": st.integers(1, 10**6),
}


def names_of(minimum: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(NAMES, min_size=minimum, max_size=5).map(lambda found: tuple(sorted(found)))


def signed_rosters() -> st.SearchStrategy[SignedRoster]:
    rosters = st.builds(
        lambda names, first, serial: Roster(
            federation="heart",
            serial=serial,
            sites=tuple(
                RosterSite(site=name, identity_key=f"{first + number:064x}")
                for number, name in enumerate(names)
            ),
        ),
        names_of(1),
        st.integers(0, 2**255),
        st.integers(1, 10**9),
    )
    return st.builds(SignedRoster, roster=rosters, signature=SIGNATURES)


def offers() -> st.SearchStrategy[tuple[SessionOffer, ...]]:
    one = st.builds(
        SessionOffer, site=NAMES, roster_digest=HEX, key=HEX, signature=SIGNATURES, **PLACE
    )
    return st.lists(one, max_size=3, unique_by=lambda offer: offer.site).map(
        lambda found: tuple(sorted(found, key=lambda offer: offer.site))
    )


def heads() -> st.SearchStrategy[tuple[KnownHead, ...]]:
    head = st.builds(
        LedgerHead,
        site=NAMES,
        ledger_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
        sequence=st.integers(0, 2**53 - 1),
        digest=HEX,
        signature=SIGNATURES,
    )
    known = st.builds(
        KnownHead,
        head=head,
        run_id=PLACE["run_id"],
        coordinator_key=st.none() | HEX,
        countersignature=st.none() | SIGNATURES,
    )
    return st.lists(known, max_size=3, unique_by=lambda one: one.head.site).map(
        lambda found: tuple(sorted(found, key=lambda one: one.head.site))
    )


def queries() -> st.SearchStrategy[Query]:
    place = PLACE | {
        "roster": names_of(1),
        "round": st.integers(0, 2 * 10**6),
        "attempt": st.integers(1, 10**6),
        "offers": offers(),
    }
    return st.one_of(
        st.builds(OpenSessionQuery, signed_roster=signed_rosters(), heads=heads(), **PLACE),
        st.builds(CloseSessionQuery, heads=heads(), **PLACE),
        *(st.builds(kind, **place) for kind in SUM_KINDS if kind is not EvaluationQuery),
        st.builds(EvaluationQuery, group=NAMES, **place),
    )


def arrays_for(query: Query) -> dict[str, NDArray[np.float64]]:
    return {name: MODEL[name] for name in ARRAYS_OF[query.kind]}


@given(queries())
def test_every_query_comes_back(query: Query) -> None:
    found, arrays = decode_query(encode_query(query, arrays_for(query)))

    assert found == query
    assert type(found) is type(query)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in arrays_for(query).items()
    }


@given(queries())
def test_the_same_query_has_the_same_digest_and_another_another(query: Query) -> None:
    frame = encode_query(query, arrays_for(query))

    assert frame_digest(frame) == frame_digest(encode_query(query, arrays_for(query)))
    other = query.model_copy(update={"study_digest": query.study_digest[::-1]})
    if other != query:
        assert frame_digest(encode_query(other, arrays_for(other))) != frame_digest(frame)


@pytest.mark.parametrize(
    "kind", ["", "Moments", "gradient", "raw_update", "predict", None, 1, ["moments"]], ids=repr
)
def test_an_unknown_kind_is_refused(kind: Any) -> None:
    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(SUM | {"kind": kind}, {}))


@pytest.mark.parametrize(
    ("whole", "field"),
    [(whole, field) for whole in (OPEN, CLOSE, SUM) for field in whole],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_a_missing_field_is_refused(whole: dict[str, Any], field: str) -> None:
    decode_query(encode_frame(whole, {}))
    body = {name: value for name, value in whole.items() if name != field}

    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(body, {}))


def test_a_session_is_opened_and_closed_without_heads_too() -> None:
    for body in (OPEN, CLOSE):
        query, _ = decode_query(encode_frame(body, {}))
        assert isinstance(query, OpenSessionQuery | CloseSessionQuery)
        assert query.heads == ()


@pytest.mark.parametrize("whole", [OPEN, CLOSE], ids=["open", "close"])
@pytest.mark.parametrize("sites", ["ba", "aa", "aba"])
def test_heads_that_are_unsorted_or_repeat_a_site_are_refused(
    whole: dict[str, Any], sites: str
) -> None:
    known = [KNOWN | {"head": HEAD | {"site": site}} for site in sites]

    with pytest.raises(FrameError, match="heads"):
        decode_query(encode_frame(whole | {"heads": known}, {}))
    in_order = [known[place] for place in (sites.index(site) for site in sorted(set(sites)))]
    decode_query(encode_frame(whole | {"heads": in_order}, {}))


@pytest.mark.parametrize(
    "known",
    [
        None,
        {},
        HEAD,
        KNOWN | {"more": 1},
        KNOWN | {"countersignature": SIGNATURE[:-1]},
        KNOWN | {"head": HEAD | {"sequence": -1}},
        KNOWN | {"head": HEAD | {"sequence": 1.0}},
        KNOWN | {"head": HEAD | {"sequence": 2**53}},
        KNOWN | {"head": HEAD | {"ledger_id": "1" * 31}},
        KNOWN | {"head": HEAD | {"site": "a/b"}},
    ],
)
def test_a_malformed_head_is_refused(known: Any) -> None:
    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(CLOSE | {"heads": [known]}, {}))


def test_a_sum_needs_neither_offers_nor_a_group() -> None:
    query, _ = decode_query(encode_frame(SUM | {"kind": "evaluation"}, MODEL))

    assert isinstance(query, EvaluationQuery)
    assert (query.offers, query.group) == ((), "all")
    with pytest.raises(FrameError, match="group"):
        decode_query(encode_frame(SUM | {"group": "all"}, {}))


@pytest.mark.parametrize("extra", ["sigma", "clip", "sampling_rate", "epsilon", "x" * 1000])
def test_an_unknown_field_is_refused(extra: str) -> None:
    # A query must have no room for a noise level.
    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(SUM | {extra: 1.0}, {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("protocol", 2),
        ("protocol", 4),
        ("protocol", "3"),
        ("protocol", True),
        ("protocol", 3.0),
        ("run_id", ""),
        ("run_id", 1),
        ("run_id", None),
        ("run_id", "run\n"),
        ("run_id", "-run"),
        ("run_id", "r n"),
        ("run_id", "a" * 201),
        ("study_digest", DIGEST[:-1]),
        ("study_digest", DIGEST.upper()),
        ("study_digest", DIGEST + "\n"),
        ("session", 0),
        ("session", 10**6 + 1),
        ("session", "1"),
        ("session", True),
        ("session", None),
        ("offers", None),
        ("offers", {}),
        ("offers", [1]),
        ("offers", [{}]),
        ("offers", [OFFER | {"key": "0"}]),
        ("offers", [OFFER | {"more": 1}]),
        ("offers", [{name: OFFER[name] for name in OFFER if name != "signature"}]),
        ("roster", []),
        ("roster", "ab"),
        ("roster", {"a": 1}),
        ("roster", [1, 2]),
        ("roster", ["a", None]),
        ("roster", ["a b"]),
        ("roster", ["a\n"]),
        ("roster", [""]),
        ("roster", ["a" * 65]),
        ("roster", ["../a"]),
        ("roster", ["ä"]),
        ("round", -1),
        ("round", 2 * 10**6 + 1),
        ("round", "1"),
        ("round", 1.0),
        ("round", True),
        ("round", None),
        ("attempt", 0),
        ("attempt", 10**6 + 1),
        ("attempt", "1"),
        ("attempt", False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_wrong_type_or_value_is_refused(field: str, value: Any) -> None:
    with pytest.raises(FrameError, match=f"malformed query.*{field}"):
        decode_query(encode_frame(SUM | {field: value}, {}))


@pytest.mark.parametrize("roster", [["b", "a"], ["a", "a"], ["a", "b", "a"], ["b", "B"]])
def test_a_roster_that_is_unsorted_or_repeats_a_site_is_refused(roster: list[str]) -> None:
    # One set of sites must have one digest, and a site must count once for the minimum.
    with pytest.raises(FrameError, match="sorted"):
        decode_query(encode_frame(SUM | {"roster": roster}, {}))


@pytest.mark.parametrize("sites", ["ba", "aa", "aba"])
def test_offers_that_are_unsorted_or_repeat_a_site_are_refused(sites: str) -> None:
    found = [OFFER | {"site": site} for site in sites]

    with pytest.raises(FrameError, match="offers must be sorted"):
        decode_query(encode_frame(SUM | {"offers": found}, {}))


@pytest.mark.parametrize(
    "change",
    [
        {"session": 0},
        {"signed_roster": None},
        {"signed_roster": ROSTER},
        {"signed_roster": {"roster": ROSTER, "signature": "0"}},
        {"signed_roster": {"roster": ROSTER, "signature": SIGNATURE, "more": 1}},
        {"signed_roster": {"roster": ROSTER | {"sites": []}, "signature": SIGNATURE}},
        {
            "signed_roster": {
                "roster": ROSTER | {"sites": ROSTER["sites"][::-1]},
                "signature": SIGNATURE,
            }
        },
        {"roster": ["a", "b"]},
        {"offers": [OFFER]},
    ],
    ids=lambda change: repr(change)[:50],
)
def test_a_malformed_opening_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FrameError, match="malformed query"):
        decode_query(encode_frame(OPEN | change, {}))


def test_the_largest_federation_fits_a_frame() -> None:
    names = [f"s{number:05}".ljust(64, "x") for number in range(10_000)]
    offers = [OFFER | {"site": name, "run_id": "r" * 200, "session": 10**6} for name in names]
    body = SUM | {"roster": names, "offers": offers, "run_id": "r" * 200, "group": "g" * 64}
    query, _ = decode_query(encode_frame(body | {"kind": "evaluation"}, MODEL))

    assert isinstance(query, EvaluationQuery)
    assert (len(query.roster), len(query.offers)) == (10_000, 10_000)
    sites = [{"site": name, "identity_key": f"{key:064x}"} for key, name in enumerate(names)]
    signed = {"roster": ROSTER | {"sites": sites}, "signature": SIGNATURE}
    known = [
        KNOWN | {"run_id": "r" * 200, "head": HEAD | {"site": name, "sequence": 2**53 - 1}}
        for name in names
    ]
    for body in (OPEN | {"signed_roster": signed}, CLOSE):
        asked, _ = decode_query(encode_frame(body | {"heads": known}, {}))
        assert isinstance(asked, OpenSessionQuery | CloseSessionQuery)
        assert len(asked.heads) == 10_000
        if isinstance(asked, OpenSessionQuery):
            assert len(asked.signed_roster.roster.sites) == 10_000


def test_a_roster_beyond_the_limit_is_refused() -> None:
    roster = [f"s{number:05}" for number in range(10_001)]

    with pytest.raises(FrameError, match="roster"):
        decode_query(encode_frame(SUM | {"roster": roster}, {}))
    decode_query(encode_frame(SUM | {"roster": roster[1:]}, {}))


@pytest.mark.parametrize(
    ("body", "arrays"),
    [
        (OPEN, {"parameters": np.zeros(4)}),
        (CLOSE, MODEL),
        (SUM, {"parameters": np.zeros(4)}),
        (SUM, MODEL),
        (SUM | {"kind": "counts"}, MODEL),
        (SUM | {"kind": "evaluation"}, {}),
        (SUM | {"kind": "site_evaluation"}, {}),
        (SUM | {"kind": "local_update"}, {"parameters": np.zeros(4)}),
        (GRADIENT, {}),
        (GRADIENT, {"parameters": np.zeros(4)}),
        (GRADIENT, MODEL | {"more": np.zeros(1)}),
        (GRADIENT, MODEL | {"parameters": np.zeros((2, 2))}),
        (GRADIENT, MODEL | {"parameters": np.array(1.0)}),
        (GRADIENT, MODEL | {"parameters": np.zeros(4, dtype=np.int64)}),
        (GRADIENT, MODEL | {"scale": np.ones(3, dtype=np.uint64)}),
    ],
)
def test_other_arrays_than_the_kind_carries_are_refused(
    body: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    with pytest.raises(FrameError, match="array"):
        decode_query(encode_frame(body, arrays))


def test_a_query_is_not_encoded_with_other_arrays() -> None:
    query = MomentsQuery(
        run_id="run", study_digest=DIGEST, session=1, roster=("a", "b"), round=0, attempt=1
    )

    with pytest.raises(FrameError, match="exactly the arrays"):
        encode_query(query, MODEL)


@given(st.binary(max_size=64))
def test_malformed_bytes_raise_frame_error(noise: bytes) -> None:
    with pytest.raises(FrameError):
        decode_query(noise)


def test_a_hostile_kind_does_not_break_the_error() -> None:
    with pytest.raises(FrameError) as caught:
        decode_query(encode_frame(OPEN | {"kind": "x" * 10**5}, {}))

    str(caught.value).encode()


def test_an_encoded_query_holds_no_more_than_the_public_fields() -> None:
    query = GradientSumQuery(
        run_id="run", study_digest=DIGEST, session=1, roster=("a", "b"), round=3, attempt=1
    )
    body, arrays = decode_frame(encode_query(query, MODEL))

    assert set(body) == {
        "protocol",
        "kind",
        "run_id",
        "study_digest",
        "session",
        "offers",
        "roster",
        "round",
        "attempt",
    }
    assert set(arrays) == {"parameters", "center", "scale"}
