from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedward.client.vault.local_training
import fedward.client.vault.patient_sums
from fedward.client.cohort import Cohort
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import (
    CheckCharges,
    LedgerEntry,
    LedgerUnavailable,
    MemoryLedger,
    Place,
)
from fedward.client.vault.policy import Refused
from fedward.client.vault.protection import PlannedProtection, SumRules
from fedward.client.vault.vault import Vault
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.frame import MAGIC, FrameError, decode_frame, encode_frame
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    AnySumQuery,
    decode_query,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    Answer,
    Refusal,
    RefusalReason,
    SessionOpened,
    SumRelease,
    decode_answer,
)
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.ring import decode_units
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.unprotected import NoShare

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeVault = Callable[..., Vault]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]
RefusalOf = Callable[[bytes], Refusal]


class GuardedCohort(Cohort):
    """A cohort that fails the test when any of its records is touched."""

    locked = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"features", "target", "offsets"} and type(self).locked:
            raise AssertionError(f"the vault read {name}")
        return super().__getattribute__(name)


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From here on, no record may be read."""
    return lambda: monkeypatch.setattr(GuardedCohort, "locked", True)


def guarded(cohort: Cohort) -> GuardedCohort:
    return GuardedCohort(features=cohort.features, target=cohort.target, offsets=cohort.offsets)


def arrays_for(study: Study) -> dict[str, NDArray[np.float64]]:
    dimensions = Dimensions.of(study)
    return {
        "parameters": np.zeros(dimensions.parameters),
        "center": np.zeros(dimensions.columns),
        "scale": np.ones(dimensions.columns),
    }


def framed(study: Study, query: AnySumQuery, **arrays: NDArray[np.float64]) -> bytes:
    given = arrays_for(study) | arrays
    return encode_query(query, {name: given[name] for name in ARRAYS_OF[query.kind]})


@pytest.fixture
def refusal_of(federation: Any) -> RefusalOf:
    """Read a sealed refusal, its signature included."""

    def read(sealed: bytes) -> Refusal:
        answer, total = open_sealed(sealed).answer_of(federation.keys["site-0"])
        assert isinstance(answer, Refusal)
        assert total is None
        return answer

    return read


def test_it_opens_a_session_without_touching_a_record(
    study: Study,
    federation: Any,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    lock: Callable[[], None],
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger)
    lock()
    frame = encode_query(federation.query_for_session(study, run_id="new", session=3), {})

    answer, _ = open_sealed(vault.answer(frame)).answer_of(federation.keys["site-0"])

    assert isinstance(answer, SessionOpened)
    assert (answer.site, answer.query_digest) == ("site-0", frame_digest(frame))
    offer = answer.offer
    assert (offer.site, offer.run_id, offer.session) == ("site-0", "new", 3)
    assert (offer.study_digest, offer.roster_digest) == (
        study.digest,
        federation.signed.roster.digest,
    )
    assert ledger.entries() == ()


def test_it_opens_no_session_that_it_could_not_answer_in(
    study: Study,
    make_study: MakeStudy,
    federation: Any,
    make_vault: MakeVault,
    refusal_of: RefusalOf,
) -> None:
    few = federation.signed_for(["site-0", "site-1", "site-2"])
    forger = type(federation)(identities=federation.identities)
    stranger = federation.keys | {"stranger": SiteIdentity.generate().public_key}
    cases: list[tuple[RefusalReason, Study, dict[str, Any]]] = [
        (RefusalReason.STUDY_NOT_APPROVED, make_study(about={"version": 2}), {}),
        (RefusalReason.ROSTER_SIGNATURE, study, {"signed": forger.signed}),
        (RefusalReason.UNKNOWN_SITE, study, {"signed": federation.sign(stranger)}),
        (RefusalReason.NOT_IN_ROSTER, study, {"signed": federation.signed_for(["site-1"])}),
        (RefusalReason.ROSTER_TOO_SMALL, study, {"signed": few}),
    ]
    for reason, asked, changes in cases:
        vault = make_vault(study, policy={"minimum_sites": 4})
        query = federation.query_for_session(asked, **changes)
        assert refusal_of(vault.answer(encode_query(query, {}))).reason == reason


def test_every_answer_is_sealed_by_the_site_alone(
    study: Study,
    federation: Any,
    make_vault: MakeVault,
    make_query: MakeQuery,
) -> None:
    vault = make_vault(study)
    frames = (
        encode_query(federation.query_for_session(study, session=2), {}),
        framed(study, make_query(study)),
        framed(study, make_query(study)),
        b"no frame",
    )
    answers = [open_sealed(vault.answer(frame)) for frame in frames]

    kinds = [sealed.answer_of(federation.keys["site-0"])[0].kind for sealed in answers]
    assert kinds == ["session_opened", "sum", "refusal", "refusal"]
    for sealed in answers:
        with pytest.raises(Exception, match="not signed"):
            sealed.answer_of(federation.keys["site-1"])


def test_the_guard_of_these_tests_holds(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault = make_vault(study, cohort=guarded(make_cohort()))
    lock()

    answer, _ = ask(vault, study, make_query(study))
    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.INTERNAL
    assert "the vault read" in caplog.text


CASES: dict[str, tuple[RefusalReason, dict[str, Any], dict[str, Any]]] = {
    "a roster without it": (
        RefusalReason.NOT_IN_ROSTER,
        {"roster": ("site-1", "site-2")},
        {},
    ),
    "a roster of one": (RefusalReason.ROSTER_TOO_SMALL, {"roster": ("site-0",)}, {}),
    "a study it did not approve": (
        RefusalReason.STUDY_NOT_APPROVED,
        {"study_digest": "0" * 64},
        {},
    ),
    "training of another method": (RefusalReason.NOT_IN_STUDY, {"kind": "local_update"}, {}),
    "training in the scaler's round": (RefusalReason.NOT_IN_STUDY, {"round": 0}, {}),
    "training after the last round": (RefusalReason.NOT_IN_STUDY, {"round": 5}, {}),
    "a site that is in no session": (
        RefusalReason.UNKNOWN_SITE,
        {"roster": ("site-0", "site-1", "stranger")},
        {},
    ),
    "a session that was not opened": (RefusalReason.UNKNOWN_SESSION, {"session": 2}, {}),
    "a run that was not opened": (RefusalReason.UNKNOWN_SESSION, {"run_id": "other"}, {}),
    "parameters too long": (RefusalReason.WRONG_SHAPE, {}, {"parameters": np.zeros(5)}),
    "no parameters": (RefusalReason.WRONG_SHAPE, {}, {"parameters": np.zeros(0)}),
    "a center too short": (RefusalReason.WRONG_SHAPE, {}, {"center": np.zeros(2)}),
    "a scale too short": (RefusalReason.WRONG_SHAPE, {}, {"scale": np.ones(1)}),
    "a scale of zero": (RefusalReason.WRONG_SHAPE, {}, {"scale": np.array([1.0, 0.0, 1.0])}),
    "a scale below zero": (RefusalReason.WRONG_SHAPE, {}, {"scale": np.array([1.0, -1.0, 1.0])}),
}


@pytest.mark.parametrize(("reason", "changes", "arrays"), CASES.values(), ids=CASES)
def test_it_refuses_before_any_record_is_read(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    refusal_of: RefusalOf,
    lock: Callable[[], None],
    reason: RefusalReason,
    changes: dict[str, Any],
    arrays: dict[str, NDArray[np.float64]],
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger)
    lock()
    frame = encode_query(make_query(study, **changes), arrays_for(study) | arrays)

    refusal = refusal_of(vault.answer(frame))

    assert refusal.reason == reason
    assert refusal.site == "site-0"
    assert refusal.query_digest == frame_digest(frame)
    assert re.fullmatch(r"[^\n]{10,200}", refusal.message)
    assert ledger.entries() == ()


def test_a_cap_that_only_its_ledger_declares_is_refused_before_any_record_is_read(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    open_ledger: Callable[..., DurableLedger],
) -> None:
    budget = CohortBudget(name="patients", delta=study.privacy.delta, epsilon_cap=0.01)
    ledger = open_ledger(cohorts=[budget])
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger)
    lock()

    answer, _ = ask(vault, study, make_query(study))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.BUDGET_EXCEEDED
    assert "its cap for all studies is 0.01" in answer.message
    assert ledger.entries() == ()


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"local": True}, "gradient_sum"),
        ({"scaling": {"method": "public_range"}}, "moments"),
    ],
)
def test_it_refuses_a_query_that_its_study_does_not_plan(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    document: dict[str, Any],
    kind: str,
) -> None:
    study = make_study(**document)
    vault = make_vault(study, cohort=guarded(make_cohort()))
    lock()

    answer, _ = ask(vault, study, make_query(study, kind))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.NOT_IN_STUDY


def test_it_refuses_a_roster_below_the_studys_minimum(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
) -> None:
    study = make_study(cohort={"minimum_sites": 3})
    vault = make_vault(study, cohort=guarded(make_cohort()))
    lock()

    answer, _ = ask(vault, study, make_query(study, roster=("site-0", "site-1")))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.ROSTER_TOO_SMALL


class Sized(PlannedProtection):
    """The plan's rules in the ring that these sizes ask for."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        self.sizes = sizes

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        planned = super().rules(study, kind, sites=sites, colluding=colluding)
        return replace(planned, codec=replace(planned.codec, **self.sizes), share=NoShare())


BEYOND_THE_RING: dict[str, dict[str, Any]] = {
    "sites": {"sites": 4},
    "scale": {"resolution_bits": 37},
    "clip": {"clip": 1.9},
    "patients": {"max_patients": 2**25},
}


@pytest.mark.parametrize("sizes", BEYOND_THE_RING.values(), ids=BEYOND_THE_RING)
def test_it_refuses_a_sum_that_could_overflow(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    sizes: dict[str, Any],
) -> None:
    largest = {"clip": 1.0, "max_patients": 2**24, "resolution_bits": 36, "noise_multiplier": 0.1}
    sites = sizes.get("sites", 3)
    beyond = largest | {name: value for name, value in sizes.items() if name != "sites"}
    roster = ("site-0", "site-1", "site-2", "site-3")
    ledger = MemoryLedger()
    fits = make_vault(study, protection=Sized(**largest))
    vault = make_vault(
        study, cohort=guarded(make_cohort()), protection=Sized(**beyond), ledger=ledger
    )
    lock()

    sound, _ = ask(fits, study, make_query(study, roster=roster[:3]))
    refused, _ = ask(vault, study, make_query(study, roster=roster[:sites]))

    assert isinstance(sound, SumRelease)
    assert isinstance(refused, Refusal)
    assert refused.reason == RefusalReason.PRIVACY
    assert "does not fit the ring" in refused.message
    assert ledger.entries() == ()


EVERY_KIND = (
    "moments",
    "gradient_sum",
    "local_update",
    "counts",
    "evaluation",
    "site_evaluation",
)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_it_answers_a_place_once(
    study_for: Callable[[str], Study],
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    kind: str,
) -> None:
    chosen = study_for(kind)
    vault = make_vault(
        chosen,
        cohort=guarded(make_cohort()),
        held_out=guarded(make_cohort(5)),
        policy={"allow_site_evaluation": True},
    )
    query = make_query(chosen, kind)
    first, _ = ask(vault, chosen, query)
    lock()

    again, _ = ask(vault, chosen, query)

    assert isinstance(first, SumRelease)
    assert isinstance(again, Refusal)
    assert again.reason == RefusalReason.ALREADY_ANSWERED


def test_another_question_about_an_answered_place_is_a_replay_too(
    study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    # Two models at one place would get two answers under one mask.
    vault = make_vault(study)
    ask(vault, study, make_query(study))

    for query, arrays in (
        (make_query(study), {"parameters": np.ones(4)}),
        (make_query(study, roster=("site-0", "site-1")), {}),
        (make_query(study), {"scale": np.full(3, 2.0)}),
    ):
        answer, _ = ask(vault, study, query, **arrays)
        assert isinstance(answer, Refusal)
        assert answer.reason == RefusalReason.ALREADY_ANSWERED


def test_one_round_more_than_planned_exceeds_the_budget(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger, runs=("run", "another"))
    ask(vault, study, make_query(study, "moments"))
    for number in range(1, study.training.rounds + 1):
        assert isinstance(ask(vault, study, make_query(study, round=number))[0], SumRelease)
    spent = ledger.entries()
    lock()

    for query in (
        make_query(study, round=1, attempt=2),
        make_query(study, run_id="another"),
        make_query(study, "moments", run_id="another"),
    ):
        answer, _ = ask(vault, study, query)
        assert isinstance(answer, Refusal)
        assert answer.reason == RefusalReason.BUDGET_EXCEEDED
    assert ledger.entries() == spent


def test_a_second_run_of_the_study_spends_the_same_budget(
    study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, ledger=ledger)
    ask(vault, study, make_query(study, "moments"))
    for number in range(1, study.training.rounds + 1):
        ask(vault, study, make_query(study, round=number))

    # The ledger is the site's memory; another vault process must not forget.
    again = make_vault(study, ledger=ledger, runs=("second",))
    answer, _ = ask(again, study, make_query(study, run_id="second"))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.BUDGET_EXCEEDED


def test_local_rounds_are_counted_with_all_their_steps(
    local_study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    vault = make_vault(local_study)
    ask(vault, local_study, make_query(local_study, "moments"))
    for number in range(1, local_study.training.rounds + 1):
        answer, _ = ask(vault, local_study, make_query(local_study, "local_update", round=number))
        assert isinstance(answer, SumRelease)
        assert answer.executed is not None
        assert answer.executed.count == 2  # one epoch of half batches

    answer, _ = ask(vault, local_study, make_query(local_study, "local_update", attempt=2))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.BUDGET_EXCEEDED


def answer_in(sealed: bytes) -> Answer:
    return decode_answer(open_sealed(sealed).frame)[0]


def declaring(shape: list[int]) -> bytes:
    """A frame whose header declares one array of this shape, and holds none of it."""
    header = json.dumps(
        {"arrays": [{"dtype": "float64", "name": "a", "shape": shape}], "body": {}},
        separators=(",", ":"),
    ).encode()
    return MAGIC + len(header).to_bytes(4, "little") + header


def reframed(frame: bytes, **fields: Any) -> bytes:
    body, arrays = decode_frame(frame)
    return encode_frame(body | fields, arrays)


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "noise": lambda _: b"\x00\xff" * 50,
    "a pickle": lambda _: b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    "cut short": lambda frame: frame[:-1],
    "surplus": lambda frame: frame + b"\x00",
    "10 GB declared": lambda _: declaring([10 * 2**27]),
    "an absurd empty array": lambda _: declaring([0, 2**30, 2**30, 2**30]),
    "an unknown field": lambda frame: reframed(frame, sigma=0.0),
    "an unknown kind": lambda frame: reframed(frame, kind="raw"),
    "no roster": lambda frame: reframed(frame, roster=[]),
    "an unsorted roster": lambda frame: reframed(frame, roster=["site-1", "site-0"]),
    "a site in the roster twice": lambda frame: reframed(
        frame, roster=["site-0", "site-0", "site-1"]
    ),
    "offers that are none": lambda frame: reframed(frame, offers=[{"site": "site-1"}]),
    "no session": lambda frame: reframed(frame, session=None),
    "the first protocol": lambda frame: reframed(frame, protocol=1),
    "words for numbers": lambda frame: encode_frame(
        decode_frame(frame)[0],
        decode_frame(frame)[1] | {"parameters": np.zeros(4, dtype=np.uint64)},
    ),
    "whole numbers": lambda frame: encode_frame(
        decode_frame(frame)[0], decode_frame(frame)[1] | {"scale": np.ones(3, dtype=np.int64)}
    ),
    "a matrix": lambda frame: encode_frame(
        decode_frame(frame)[0], decode_frame(frame)[1] | {"parameters": np.zeros((2, 2))}
    ),
    "a matrix of a row": lambda frame: encode_frame(
        decode_frame(frame)[0], decode_frame(frame)[1] | {"center": np.zeros((1, 3))}
    ),
    "no parameters": lambda frame: encode_frame(
        decode_frame(frame)[0],
        {name: a for name, a in decode_frame(frame)[1].items() if name != "parameters"},
    ),
    "a dtype that is none": lambda frame: frame.replace(b'"float64"', b'"float16"', 1),
    "objects": lambda frame: frame.replace(b'"float64"', b'"object0"', 1),
    "another array": lambda frame: encode_frame(
        decode_frame(frame)[0], decode_frame(frame)[1] | {"more": np.zeros(1)}
    ),
    "infinity": lambda frame: frame[:-8] + np.array(np.inf).tobytes(),
}


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bytes_get_a_typed_refusal(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    refusal_of: RefusalOf,
    lock: Callable[[], None],
    spoil: Callable[[bytes], bytes],
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger)
    lock()
    frame = spoil(encode_query(make_query(study), arrays_for(study)))

    refusal = refusal_of(vault.answer(frame))

    assert refusal.reason == RefusalReason.MALFORMED
    assert refusal.query_digest == frame_digest(frame)
    assert ledger.entries() == ()


def test_a_signed_roster_that_names_a_site_twice_is_malformed(
    study: Study, federation: Any, make_vault: MakeVault, refusal_of: RefusalOf
) -> None:
    frame = encode_query(federation.query_for_session(study), {})
    body, _ = decode_frame(frame)
    sites = body["signed_roster"]["roster"]["sites"]
    sites.append(sites[-1] | {"identity_key": "0" * 64})
    refusal = refusal_of(make_vault(study).answer(encode_frame(body, {})))

    assert refusal.reason == RefusalReason.MALFORMED
    assert "twice" in refusal.message


def test_a_declared_array_takes_no_memory(study: Study, make_vault: MakeVault) -> None:
    vault, frame = make_vault(study), declaring([10 * 2**27])
    vault.answer(frame)
    tracemalloc.start()
    vault.answer(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2**20


def test_a_refusal_does_not_depend_on_the_patients(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
) -> None:
    vaults = [make_vault(study, cohort=make_cohort(5 + 30 * n, seed=n)) for n in range(2)]
    sound = encode_query(make_query(study), arrays_for(study))
    frames = [spoil(sound) for spoil in MALFORMED.values()]
    frames += [
        encode_query(make_query(study, **changes), arrays_for(study) | arrays)
        for _, changes, arrays in CASES.values()
    ]
    planned = [encode_query(make_query(study, "moments"), {})]
    planned += [
        encode_query(make_query(study, round=number), arrays_for(study))
        for number in range(1, study.training.rounds + 1)
    ]
    beyond = encode_query(make_query(study, attempt=2), arrays_for(study))
    for frame in planned:
        for vault in vaults:
            assert isinstance(answer_in(vault.answer(frame)), SumRelease)

    for frame in (*frames, planned[1], beyond):
        answers = [vault.answer(frame) for vault in vaults]
        assert isinstance(answer_in(answers[0]), Refusal)
        assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_ledger_holds_the_digest_of_exactly_what_left(
    study_for: Callable[[str], Study],
    federation: Any,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    kind: str,
) -> None:
    chosen = study_for(kind)
    ledger = MemoryLedger()
    vault = make_vault(
        chosen,
        ledger=ledger,
        held_out=make_cohort(5),
        policy={"allow_site_evaluation": True},
    )
    query = make_query(chosen, kind)
    frame = framed(chosen, query)

    sealed = open_sealed(vault.answer(frame))

    (entry,) = ledger.entries()
    assert entry.release_digest == sealed.digest == frame_digest(bytes(sealed.frame))
    assert entry.query_digest == frame_digest(frame)
    assert entry.place == ("run", query.round, 1)
    assert entry.study_digest == chosen.digest
    release, _ = sealed.answer_of(federation.keys["site-0"])
    assert isinstance(release, SumRelease)
    assert release.executed is not None
    assert entry.event is not None
    assert entry.event_alone is not None
    assert entry.event.noise_multiplier == release.executed.noise_multiplier
    assert entry.event_alone.noise_multiplier == release.executed.share_multiplier
    assert entry.event.count == entry.event_alone.count == release.executed.count
    assert entry.event.sampling_rate == release.executed.sampling_rate
    # What is read by itself is not masked, and has all of the noise.
    by_itself = kind == "site_evaluation"
    assert (release.query_digest, release.masked) == (frame_digest(frame), not by_itself)
    if by_itself:
        assert entry.event == entry.event_alone


def test_a_reservation_stands_when_computing_crashes(
    study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, ledger=ledger)
    ask(vault, study, make_query(study, "moments"))

    def crash(*_args: object, **_options: object) -> NDArray[np.float64]:
        entry = ledger.entries()[-1]
        assert entry.kind == "training"
        assert entry.release_digest is None
        raise MemoryError("lights out")

    with monkeypatch.context() as patched:
        patched.setattr(fedward.client.vault.patient_sums, "clipped_gradient_sum", crash)
        answer, _ = ask(vault, study, make_query(study))
    # What a fault says may quote a record, so it does not leave.
    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.INTERNAL
    assert "lights out" not in answer.message

    again, _ = ask(vault, study, make_query(study))
    assert isinstance(again, Refusal)
    assert again.reason == RefusalReason.ALREADY_ANSWERED
    for number in range(2, study.training.rounds + 1):
        assert isinstance(ask(vault, study, make_query(study, round=number))[0], SumRelease)
    beyond, _ = ask(vault, study, make_query(study, attempt=2))
    assert isinstance(beyond, Refusal)
    assert beyond.reason == RefusalReason.BUDGET_EXCEEDED


NO_SPACE = LedgerUnavailable(
    source="/srv/miller", field="", problem="has no space left for Mrs Miller", fix="make room"
)


class FullDisk(MemoryLedger):
    """Fails where it should write; ``abandoned`` are the reasons that it was told."""

    def __init__(self, *, at: str, fault: Exception = NO_SPACE) -> None:
        super().__init__()
        self.at = at
        self.fault = fault
        self.abandoned: list[str] = []

    def reserve(self, entry: LedgerEntry, *, check: CheckCharges | None = None) -> None:
        if self.at == "reserve":
            raise self.fault
        super().reserve(entry, check=check)

    def commit(self, place: Place, *, release_digest: str) -> None:
        if self.at == "commit":
            raise self.fault
        super().commit(place, release_digest=release_digest)

    def abandon(self, place: Place, *, reason: str) -> None:
        self.abandoned.append(reason)
        if self.at in {"commit", "abandon"}:
            raise self.fault
        super().abandon(place, reason=reason)


FAULTS = {
    RefusalReason.LEDGER_UNAVAILABLE: NO_SPACE,
    RefusalReason.INTERNAL: OSError("no space left for Mrs Miller"),
}


@pytest.mark.parametrize(("reason", "fault"), FAULTS.items())
def test_what_cannot_be_reserved_is_not_computed(
    study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    reason: RefusalReason,
    fault: Exception,
) -> None:
    ledger = FullDisk(at="reserve", fault=fault)
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger)
    lock()

    answer, _ = ask(vault, study, make_query(study))

    assert isinstance(answer, Refusal)
    assert answer.reason == reason
    assert ledger.abandoned == []
    assert "miller" not in answer.message.lower()
    assert "Miller" in caplog.text
    assert "the vault read" not in caplog.text


@pytest.mark.parametrize(("reason", "fault"), FAULTS.items())
def test_what_cannot_be_committed_does_not_leave(
    study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    reason: RefusalReason,
    fault: Exception,
) -> None:
    ledger = FullDisk(at="commit", fault=fault)
    answer, total = ask(make_vault(study, ledger=ledger), study, make_query(study))

    assert isinstance(answer, Refusal)
    assert answer.reason == reason
    assert "miller" not in answer.message.lower()
    assert total is None
    # It was computed, so it counts, whether or not it can be noted what became of it.
    assert [entry.release_digest for entry in ledger.entries()] == [None]
    assert len(ledger.abandoned) == 1


@pytest.mark.parametrize("at", ["nowhere", "abandon"])
@pytest.mark.parametrize(
    ("fault", "reason", "noted"),
    [
        (
            PrivacyRefusal("Mrs Miller does not fit"),
            RefusalReason.PRIVACY,
            "the sum could not be protected",
        ),
        (MemoryError("Mrs Miller is too large"), RefusalReason.INTERNAL, "the vault failed"),
        (NO_SPACE, RefusalReason.INTERNAL, "the vault failed"),
        (
            Refused(RefusalReason.SESSION_KEYS, "Mrs Miller has no key"),
            RefusalReason.SESSION_KEYS,
            "the release was refused: session_keys",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_fails_once_it_is_reserved_is_abandoned_with_fixed_words(
    study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    reason: RefusalReason,
    noted: str,
    at: str,
) -> None:
    ledger = FullDisk(at=at)
    vault = make_vault(study, ledger=ledger)

    def fail(*_args: object, **_options: object) -> None:
        raise fault

    monkeypatch.setattr(fedward.client.vault.patient_sums, "clipped_gradient_sum", fail)
    answer, _ = ask(vault, study, make_query(study))

    assert isinstance(answer, Refusal)
    assert answer.reason == reason
    assert ledger.abandoned == [noted]
    # A refusal before the reservation has nothing to abandon.
    again, _ = ask(vault, study, make_query(study))
    assert isinstance(again, Refusal)
    assert again.reason == RefusalReason.ALREADY_ANSWERED
    assert ledger.abandoned == [noted]


@pytest.mark.parametrize("clip", [1e-6, 1e6])
def test_the_smallest_and_the_largest_clip_of_a_study_have_releases(
    make_study: MakeStudy, make_vault: MakeVault, make_query: MakeQuery, ask: Ask, clip: float
) -> None:
    study = make_study(privacy={"clip": clip})
    release, total = ask(make_vault(study, masked=False), study, make_query(study))

    assert isinstance(release, SumRelease)
    assert total is not None
    noise = decode_units(total, scale_bits=release.scale_bits)
    assert 1e-3 * clip < np.abs(noise).max() < 1e3 * clip


def test_a_site_may_have_capital_letters_in_its_name(
    study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    # Files such as Cleveland.csv name sites.
    vault = make_vault(study, site="Cleveland_2.a")
    answer, _ = ask(vault, study, make_query(study, roster=("Cleveland_2.a", "site-1")))

    assert isinstance(answer, SumRelease)
    assert answer.site == "Cleveland_2.a"


def test_what_it_answers_can_be_read_by_nobody_as_a_query(
    study: Study, make_vault: MakeVault, make_query: MakeQuery
) -> None:
    sealed = make_vault(study).answer(encode_query(make_query(study), arrays_for(study)))

    with pytest.raises(FrameError, match="malformed query"):
        decode_query(bytes(open_sealed(sealed).frame))
    with pytest.raises(FrameError):
        decode_query(sealed)


def test_time_is_told_apart_by_stage_and_is_in_no_answer(
    study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    vault = make_vault(study)
    for number in (1, 2):
        ask(vault, study, make_query(study, round=number))
    timings = replace(vault.timings)
    ask(vault, study, make_query(study, round=2))

    assert timings.releases == 2
    stages = (
        timings.seconds_computing,
        timings.seconds_in_noise,
        timings.seconds_in_masks,
        timings.seconds_sealing,
    )
    assert all(seconds > 0 for seconds in stages)
    # What was refused took no time in any stage.
    assert vault.timings == timings


def test_a_forked_vault_releases_nothing(
    study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    federation: Any,
    in_a_fork: Callable[[Callable[[], object]], str],
) -> None:
    ledger = MemoryLedger()
    vault = make_vault(study, ledger=ledger)

    def reason() -> object:
        answer, total = ask(vault, study, make_query(study))
        assert isinstance(answer, Refusal)
        return answer.reason.value, total

    assert in_a_fork(reason) == "('internal', None)"
    opening = encode_query(federation.query_for_session(study, session=2), {})
    answer = in_a_fork(
        lambda: open_sealed(vault.answer(opening)).answer_of(federation.keys["site-0"])
    )
    assert "SessionOpened" not in answer
    assert "internal" in answer
    # The process that made it goes on.
    assert ledger.entries() == ()
    assert isinstance(ask(vault, study, make_query(study))[0], SumRelease)
