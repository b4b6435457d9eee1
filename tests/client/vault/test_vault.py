from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedward.client.vault.local_training
import fedward.client.vault.vault
from fedward.client.cohort import Cohort
from fedward.client.vault.ledger import MemoryLedger
from fedward.client.vault.vault import Vault
from fedward.common.errors import InputError
from fedward.common.protocol.frame import MAGIC, decode_frame, encode_frame
from fedward.common.protocol.queries import (
    AnySumQuery,
    IdentifyQuery,
    decode_query,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    Answer,
    Identified,
    Refusal,
    RefusalReason,
    SumRelease,
    decode_answer,
)
from fedward.common.secure_sum.ring import decode_units
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeVault = Callable[..., Vault]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]


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


def refusal_of(frame: bytes) -> Refusal:
    answer, total = decode_answer(frame)
    assert isinstance(answer, Refusal)
    assert total is None
    return answer


def test_it_identifies_itself_without_touching_a_record(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort, lock: Callable[[], None]
) -> None:
    vault = make_vault(study, cohort=guarded(make_cohort()))
    lock()

    answer, _ = decode_answer(
        vault.answer(encode_query(IdentifyQuery(run_id="run", study_digest=study.digest), {}))
    )

    assert answer == Identified(site="site-0", run_id="run", study_digest=study.digest)


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


def test_it_refuses_a_sum_that_could_overflow(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
) -> None:
    study = make_study(cohort={"max_patients_per_site": 2**24}, privacy={"clip": 1.9})
    vault = make_vault(study, cohort=guarded(make_cohort()))
    lock()
    roster = tuple(sorted(f"site-{number}" for number in range(10_000)))

    answer, _ = ask(vault, study, make_query(study, roster=roster))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.PRIVACY


@pytest.mark.parametrize("kind", ["gradient_sum", "moments", "local_update"])
def test_it_answers_a_place_once(
    study: Study,
    local_study: Study,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    lock: Callable[[], None],
    kind: str,
) -> None:
    chosen = local_study if kind == "local_update" else study
    vault = make_vault(chosen, cohort=guarded(make_cohort()))
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
        (make_query(study, "moments", round=1), {}),
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
    vault = make_vault(study, cohort=guarded(make_cohort()), ledger=ledger)
    ask(vault, study, make_query(study, "moments"))
    for number in range(1, study.training.rounds + 1):
        assert isinstance(ask(vault, study, make_query(study, round=number))[0], SumRelease)
    spent = ledger.entries()
    lock()

    for query in (
        make_query(study, round=study.training.rounds + 1),
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
    answer, _ = ask(make_vault(study, ledger=ledger), study, make_query(study, run_id="second"))

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

    answer, _ = ask(vault, local_study, make_query(local_study, "local_update", round=9))

    assert isinstance(answer, Refusal)
    assert answer.reason == RefusalReason.BUDGET_EXCEEDED


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
        for number in range(1, study.training.rounds + 2)
    ]
    beyond = planned.pop()
    for frame in planned:
        for vault in vaults:
            assert isinstance(decode_answer(vault.answer(frame))[0], SumRelease)

    for frame in (*frames, planned[1], beyond):
        answers = [vault.answer(frame) for vault in vaults]
        assert isinstance(decode_answer(answers[0])[0], Refusal)
        assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", ["moments", "gradient_sum", "local_update"])
def test_the_ledger_holds_the_digest_of_exactly_what_left(
    study: Study,
    local_study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    kind: str,
) -> None:
    chosen = local_study if kind == "local_update" else study
    ledger = MemoryLedger()
    vault = make_vault(chosen, ledger=ledger)
    query = make_query(chosen, kind)
    frame = encode_query(query, {} if kind == "moments" else arrays_for(chosen))

    answer = vault.answer(frame)

    (entry,) = ledger.entries()
    assert entry.release_digest == frame_digest(answer)
    assert entry.query_digest == frame_digest(frame)
    assert entry.place == ("run", query.round, 1)
    assert entry.study_digest == chosen.digest
    release, _ = decode_answer(answer)
    assert isinstance(release, SumRelease)
    assert release.executed is not None
    assert entry.event is not None
    assert entry.event_alone is not None
    assert entry.event.noise_multiplier == release.executed.noise_multiplier
    assert entry.event_alone.noise_multiplier == release.executed.share_multiplier
    assert entry.event.count == entry.event_alone.count == release.executed.count
    assert entry.event.sampling_rate == release.executed.sampling_rate
    assert (release.query_digest, release.masked) == (frame_digest(frame), False)


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
        patched.setattr(fedward.client.vault.vault, "clipped_gradient_sum", crash)
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
    beyond, _ = ask(vault, study, make_query(study, round=99))
    assert isinstance(beyond, Refusal)
    assert beyond.reason == RefusalReason.BUDGET_EXCEEDED


def test_an_empty_batch_still_sends_noise(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study(
        training={
            "method": "distributed",
            "rounds": 2,
            "learning_rate": 1.0,
            "batch": "poisson",
            "sampling_rate": 0.5,
        }
    )
    monkeypatch.setattr(
        fedward.client.vault.vault,
        "sampled_patients",
        lambda *_args, **_options: np.array([], dtype=np.int64),
    )
    release, total = ask(make_vault(study), study, make_query(study))

    assert isinstance(release, SumRelease)
    assert total is not None
    # Each of four coordinates is exactly zero with a chance of about 2^-24.
    assert (total != 0).any()
    noise = decode_units(total, scale_bits=release.scale_bits)
    assert np.abs(noise).max() < 20 * study.privacy.clip * 10


def test_local_steps_over_empty_batches_still_send_noise(
    local_study: Study,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        fedward.client.vault.local_training,
        "sampled_patients",
        lambda *_args, **_options: np.array([], dtype=np.int64),
    )
    _, total = ask(make_vault(local_study), local_study, make_query(local_study, "local_update"))

    assert total is not None
    assert (total != 0).all()


def test_a_batch_is_drawn_by_the_studys_rate(
    make_study: MakeStudy,
    make_vault: MakeVault,
    make_cohort: MakeCohort,
    make_query: MakeQuery,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = 20
    study = make_study(
        training={
            "method": "distributed",
            "rounds": rounds,
            "learning_rate": 1.0,
            "batch": "poisson",
            "sampling_rate": 0.25,
        }
    )
    batches: list[tuple[int, ...]] = []

    def record(
        _model: object, _parameters: object, _cohort: object, patients: NDArray[np.int64], **_: Any
    ) -> NDArray[np.float64]:
        batches.append(tuple(patients.tolist()))
        return np.zeros(4)

    monkeypatch.setattr(fedward.client.vault.vault, "clipped_gradient_sum", record)
    vault = make_vault(study, cohort=make_cohort(400), noise_seed=1)
    for number in range(1, rounds + 1):
        ask(vault, study, make_query(study, round=number))

    share = sum(map(len, batches)) / (rounds * 400)
    assert share == pytest.approx(0.25, abs=6 * (0.25 * 0.75 / (rounds * 400)) ** 0.5)
    assert len(set(batches)) == rounds


@pytest.mark.parametrize("clip", [1e-6, 1e6])
def test_the_smallest_and_the_largest_clip_of_a_study_have_releases(
    make_study: MakeStudy, make_vault: MakeVault, make_query: MakeQuery, ask: Ask, clip: float
) -> None:
    study = make_study(privacy={"clip": clip})
    release, total = ask(make_vault(study), study, make_query(study))

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


def test_a_cohort_of_other_columns_is_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort
) -> None:
    with pytest.raises(ValueError, match="4 columns, not 3"):
        make_vault(study, cohort=make_cohort(columns=4))


def test_a_cohort_without_patients_is_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort
) -> None:
    with pytest.raises(InputError, match="no patient"):
        make_vault(study, cohort=make_cohort().take(np.array([], dtype=np.int64)))


def test_more_patients_than_the_ring_was_sized_for_are_refused(
    make_study: MakeStudy, make_vault: MakeVault, make_cohort: MakeCohort
) -> None:
    study = make_study(cohort={"max_patients_per_site": 19})

    make_vault(study, cohort=make_cohort(19))
    with pytest.raises(InputError, match="max_patients_per_site"):
        make_vault(study, cohort=make_cohort(20))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, -1.01])
def test_features_outside_the_agreed_range_are_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort, value: float
) -> None:
    cohort = make_cohort()
    features = cohort.features.copy()
    features[3, 1] = value

    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        make_vault(
            study, cohort=Cohort(features=features, target=cohort.target, offsets=cohort.offsets)
        )


@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0, -1.0])
def test_outcomes_other_than_0_and_1_are_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort, value: float
) -> None:
    cohort = make_cohort()
    target = cohort.target.copy()
    target[3] = value

    with pytest.raises(ValueError, match="0 or 1"):
        make_vault(
            study, cohort=Cohort(features=cohort.features, target=target, offsets=cohort.offsets)
        )


def test_a_scaler_is_applied_and_a_new_one_replaces_it(
    make_study: MakeStudy, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    study = make_study()
    scale = {"scale": np.full(3, 0.5)}
    vaults = [make_vault(study, noise_seed=1) for _ in range(3)]

    def totals(vault: Vault, *scalers: dict[str, NDArray[np.float64]]) -> list[bytes]:
        found = []
        for number, scaler in enumerate(scalers, start=1):
            _, total = ask(vault, study, make_query(study, round=number), **scaler)
            assert total is not None
            found.append(total.tobytes())
        return found

    wide, mixed, narrow = (
        totals(vaults[0], {}, {}, {}),
        totals(vaults[1], {}, scale, {}),
        totals(vaults[2], scale, scale, scale),
    )
    assert mixed == [wide[0], narrow[1], wide[2]]
    assert wide != narrow


def test_what_it_answers_can_be_read_by_nobody_as_a_query(
    study: Study, make_vault: MakeVault, make_query: MakeQuery
) -> None:
    frame = make_vault(study).answer(encode_query(make_query(study), arrays_for(study)))

    with pytest.raises(Exception, match="malformed query"):
        decode_query(frame)
