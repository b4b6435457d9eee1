"""All that crosses between coordinator and hospitals in a whole run, byte by byte.

A whole run of the shipped study on the breast-cancer data is recorded at the coordinator's side of
the grid, and again with other patients at one hospital. `pytest -s` prints what crossed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from fedward.client.cohort import Cohort
from fedward.common.privacy.plan import PrivacyPlan, SumKind
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.envelope import FIELD, MESSAGE_TYPE, RECORD
from fedward.common.protocol.frame import decode_frame
from fedward.common.protocol.queries import ARRAYS_OF, decode_query, frame_digest
from fedward.common.protocol.releases import SumRelease, decode_answer
from fedward.common.protocol.sealed import open_sealed
from fedward.common.study.dimensions import Dimensions
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import Arm, arms_of, changed
from fedward.simulations.books import Books
from fedward.simulations.conditions import Conditions
from fedward.simulations.credentials import Credentials
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedRun, SimulatedSite, train
from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals
from fedward.simulations.report.transcript_table import transcript_table
from fedward.simulations.trainings import (
    SplitHospitals,
    run_options,
    simulated_sites,
    trainings_of,
)
from fedward.simulations.transcript import Transcript, frame_of, read_transcript

SITES = 4
ALTERED = "hospital-2"
SIGNATURE = 64
ELEMENT = 8

SUM_FIELDS = {
    "attempt",
    "kind",
    "offers",
    "protocol",
    "roster",
    "round",
    "run_id",
    "session",
    "study_digest",
}
OFFER_FIELDS = {
    "key",
    "roster_digest",
    "run_id",
    "session",
    "signature",
    "site",
    "study_digest",
}
# Whoever adds a field to a message must be able to say here that it holds nothing of a patient.
FIELDS: dict[str, set[str]] = {
    "open_session": {
        "kind",
        "protocol",
        "run_id",
        "session",
        "signed_roster",
        "study_digest",
        "heads",
    },
    "close_session": {"heads", "kind", "protocol", "run_id", "session", "study_digest"},
    "moments": SUM_FIELDS,
    "counts": SUM_FIELDS,
    "gradient_sum": SUM_FIELDS,
    "evaluation": SUM_FIELDS | {"group"},
    "site_evaluation": SUM_FIELDS,
    "session_opened": {"head", "kind", "offer", "protocol", "query_digest", "site"},
    "session_closed": {"head", "kind", "protocol", "query_digest", "site"},
    "sum": {
        "attempt",
        "executed",
        "kind",
        "ledger",
        "masked",
        "protocol",
        "query_digest",
        "round",
        "run_id",
        "scale_bits",
        "site",
        "study_digest",
    },
}
# The numbers of a ledger's entries tell how many queries it answered; its digests cover what left
# noised, the queries, and the time to the second.
HEAD_FIELDS = {"digest", "ledger_id", "sequence", "signature", "site"}
KINDS: dict[str, SumKind] = {"gradient_sum": "training"}


@dataclass(frozen=True)
class Crossed:
    """One message as it crossed: a query's frame, or a frame with its signature."""

    up: bool
    node: int
    content: bytes

    @property
    def frame(self) -> bytes:
        return self.content[:-SIGNATURE] if self.up else self.content

    @property
    def body(self) -> dict[str, Any]:
        return decode_frame(self.frame)[0]

    @property
    def total(self) -> NDArray[np.uint64] | None:
        return decode_frame(self.frame)[1].get("total")


class Recorder:
    """Keeps whole frames, and refuses a message that holds anything beside its frame."""

    def __init__(self) -> None:
        self.crossed: list[Crossed] = []

    def sent(self, node: int, message: Message) -> None:
        assert message.metadata.message_type == MESSAGE_TYPE
        self.crossed.append(Crossed(up=False, node=node, content=self._only_frame(message)))

    def received(self, node: int, reply: Message) -> None:
        assert not reply.has_error()
        self.crossed.append(Crossed(up=True, node=node, content=self._only_frame(reply)))

    def _only_frame(self, message: Message) -> bytes:
        assert list(message.content) == [RECORD]
        record = message.content.config_records[RECORD]
        assert list(record) == [FIELD]
        frame = record[FIELD]
        assert isinstance(frame, bytes)
        return frame


@dataclass(frozen=True)
class WholeRun:
    """A run with all that crossed in it, in order."""

    arm: Arm
    plan: PrivacyPlan
    crossed: tuple[Crossed, ...]
    run: SimulatedRun
    credentials: Credentials

    @property
    def up(self) -> list[Crossed]:
        return [one for one in self.crossed if one.up]


def whole_run(
    *,
    other_patients: bool = False,
    masked: bool = True,
    transcript: Path | None = None,
    books: Path | None = None,
    **evaluation: Any,
) -> WholeRun:
    study = changed(load_study(find_study("breast_cancer")), {"evaluation": evaluation})
    hospitals = breast_cancer_hospitals(study, sites=SITES, seed=0)
    split = SplitHospitals.of(hospitals, study, seed=0)
    arm = next(
        arm
        for arm in arms_of(study, epsilons=(study.privacy.epsilon,))
        if arm.kind == "federated_distributed"
    )
    (training,) = trainings_of(arm, split)
    assert training.plan is not None
    credentials = Credentials.issue(
        training.cohorts, run_id="run", randomness=RandomSource.insecure(1)
    )
    conditions = Conditions(insecure_noise_seed=1, masked=masked)
    sites = simulated_sites(arm, training, credentials, conditions=conditions, seed=0)
    if other_patients:
        sites = [altered(site) if site.name == ALTERED else site for site in sites]
    recorder = Recorder()
    run_training = train if books is None else Books(books, credentials=credentials).train
    run = run_training(
        training.study,
        sites,
        engine=InProcessEngine(),
        options=run_options(arm, training, credentials, run_id="run", seed=0),
        watcher=recorder if transcript is None else Transcript(transcript),
    )
    assert run.notes == ()
    return WholeRun(
        arm=arm,
        plan=training.plan,
        crossed=tuple(recorder.crossed),
        run=run,
        credentials=credentials,
    )


def altered(site: SimulatedSite) -> SimulatedSite:
    """Other patients, fewer of them, and all of them ill."""

    def other(cohort: Cohort) -> Cohort:
        half = cohort.take(np.arange(cohort.patient_count // 2))
        return Cohort(
            features=-half.features, target=np.ones_like(half.target), offsets=half.offsets
        )

    assert site.held_out is not None
    return replace(site, cohort=other(site.cohort), held_out=other(site.held_out))


@pytest.fixture(scope="module")
def one() -> WholeRun:
    return whole_run()


@pytest.fixture(scope="module")
def other() -> WholeRun:
    return whole_run(other_patients=True)


def test_every_message_is_of_the_closed_list_and_holds_no_other_field(one: WholeRun) -> None:
    dimensions = Dimensions.of(one.arm.study)
    sums = {"moments": 1, "gradient_sum": 40, "evaluation": 1, "counts": 1}
    kinds = [message.body["kind"] for message in one.crossed]
    assert {kind: kinds.count(kind) for kind in FIELDS} == {
        "open_session": SITES,
        "session_opened": SITES,
        "close_session": 0,
        "session_closed": 0,
        "sum": SITES * sum(sums.values()),
        "site_evaluation": 0,
    } | {kind: SITES * count for kind, count in sums.items()}
    lengths: set[tuple[str, int]] = set()

    queries: dict[str, str] = {}
    for message in one.crossed:
        body = message.body
        assert set(body) == FIELDS[body["kind"]]
        if not message.up:
            query, arrays = decode_query(message.content)
            queries[frame_digest(message.content)] = query.kind
            assert set(arrays) == ARRAYS_OF[query.kind]
            for offer in body.get("offers", ()):
                assert set(offer) == OFFER_FIELDS
            continue
        answer, total = decode_answer(message.frame)
        # Sealed by the site that it names, whose key is in the roster.
        key = one.credentials.known_keys[answer.site]
        open_sealed(message.content).answer_of(key)
        if not isinstance(answer, SumRelease):
            assert total is None
            assert set(body["offer"]) == OFFER_FIELDS
            continue
        assert total is not None
        kind = queries[answer.query_digest]
        lengths.add((kind, len(total)))
        assert answer.masked
        planned = one.plan.of(KINDS.get(kind, kind))  # type: ignore[arg-type]
        assert planned is not None
        assert body["executed"] == {
            "count": 1,
            "noise_multiplier": planned.noise_multiplier,
            "sampling_rate": planned.sampling_rate,
            "share_multiplier": planned.share_multiplier,
        }
    assert lengths == {
        (kind, dimensions.of_kind(KINDS.get(kind, kind)))  # type: ignore[arg-type]
        for kind in sums
    }


def plain(value: Any) -> Any:
    """A body without digests, signatures and keys: those of a ledger are random by themselves."""
    if isinstance(value, dict):
        hidden = {"digest", "ledger_id", "query_digest", "signature", "countersignature"}
        return {name: plain(one) for name, one in value.items() if name not in hidden}
    return [plain(one) for one in value] if isinstance(value, list) else value


def test_what_ledgers_add_to_messages_follows_from_no_patient(tmp_path: Path) -> None:
    runs = [
        whole_run(books=tmp_path / str(other_patients), other_patients=other_patients)
        for other_patients in (False, True)
    ]
    for run in runs:
        kinds = [message.body["kind"] for message in run.crossed]
        assert kinds.count("close_session") == kinds.count("session_closed") == SITES
        for message in run.crossed:
            body = message.body
            assert set(body) == FIELDS[body["kind"]]
            if "head" in body:
                assert set(body["head"]) == HEAD_FIELDS
            if body["kind"] == "sum":
                assert set(body["ledger"]) == HEAD_FIELDS
            for known in body.get("heads", ()):
                assert set(known) == {"coordinator_key", "countersignature", "head", "run_id"}
                assert set(known["head"]) == HEAD_FIELDS
    mine, yours = runs
    assert [(one.up, one.node) for one in mine.crossed] == [
        (one.up, one.node) for one in yours.crossed
    ]
    for ours, theirs in zip(mine.crossed, yours.crossed, strict=True):
        assert plain(ours.body) == plain(theirs.body)
    # It was another run: other patients, and other releases.
    assert [record.release_digest for record in mine.run.records] != [
        record.release_digest for record in yours.run.records
    ]


def stencilled(message: Crossed) -> bytes:
    """All bytes but those that may follow from the released sums.

    On the way to a site, these are the model and the scaler, computed from the sums before. On the
    way back they are the ring elements, the digest of the query (which holds that model) and the
    signature over all of them.
    """
    frame = message.frame
    size = int.from_bytes(frame[4:8], "little")
    header = frame[8 : 8 + size]
    declared = sum(ELEMENT * int(np.prod(item["shape"])) for item in json.loads(header)["arrays"])
    kept = frame[: len(frame) - declared]
    if message.up:
        digest = message.body["query_digest"].encode()
        assert kept.count(digest) == 1
        kept = kept.replace(digest, b"#" * len(digest))
    return kept + b"|" + str(len(message.content)).encode()


def test_other_patients_at_a_hospital_change_no_other_byte(one: WholeRun, other: WholeRun) -> None:
    assert len(one.crossed) == len(other.crossed)
    for mine, yours in zip(one.crossed, other.crossed, strict=True):
        assert (mine.up, mine.node) == (yours.up, yours.node)
        assert stencilled(mine) == stencilled(yours)
    # It was another run: what the hospital with other patients sent first differs, and no sum.
    first = {
        message.body["site"]: (message.content, yours.content)
        for message, yours in zip(
            one.up[SITES : 2 * SITES], other.up[SITES : 2 * SITES], strict=True
        )
    }
    assert {site for site, (mine, yours) in first.items() if mine != yours} == {ALTERED}
    assert one.run.state.to_frame() != other.run.state.to_frame()


def byte_values(messages: list[Crossed]) -> NDArray[np.uint8]:
    """All bytes of all ring elements, ``[elements, 8]``."""
    totals = [total for message in messages if (total := message.total) is not None]
    return np.concatenate(totals).astype("<u8").view(np.uint8).reshape(-1, ELEMENT)


def uniformity(values: NDArray[np.uint8]) -> float:
    """The chi-square test's p-value for all 256 values being as likely."""
    counts = np.bincount(values.ravel(), minlength=256)
    return float(stats.chisquare(counts).pvalue)


def by_part(run: WholeRun) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The ring's bytes: all, by place in the element, by site, and of single sums."""
    everything = byte_values(run.up)
    yield "all", everything
    for place in range(ELEMENT):
        yield f"byte {place}", everything[:, place]
    for site in sorted({message.body["site"] for message in run.up}):
        yield site, byte_values([one for one in run.up if one.body["site"] == site])


def test_ring_elements_look_uniform_and_only_for_the_masks(one: WholeRun) -> None:
    found = {name: uniformity(values) for name, values in by_part(one)}
    bare = {name: uniformity(values) for name, values in by_part(whole_run(masked=False))}

    assert len(found) == 1 + ELEMENT + SITES
    # Fixed seeds: this is no coin toss. Without masks the first bytes of each number are all alike.
    assert min(found.values()) > 1e-4
    assert bare["all"] < 1e-200
    assert all(bare[f"byte {place}"] < 1e-50 for place in (6, 7))
    assert all(bare[f"hospital-{number}"] < 1e-50 for number in range(1, SITES + 1))


def test_masked_releases_of_one_site_tell_nothing_of_its_patients(
    one: WholeRun, other: WholeRun
) -> None:
    # The same hospital with other patients, sum by sum.
    fresh: list[NDArray[np.uint64]] = []
    same_mask: list[NDArray[np.uint64]] = []
    for mine, yours in zip(one.up, other.up, strict=True):
        first, second = mine.total, yours.total
        if first is None or second is None or mine.body["site"] != ALTERED:
            continue
        asked_alike = mine.body["query_digest"] == yours.body["query_digest"]
        (same_mask if asked_alike else fresh).append(first ^ second)
    bits = np.unpackbits(np.concatenate(fresh).view(np.uint8))

    # Half of the bits differ, as of two random numbers.
    assert abs(float(bits.mean()) - 0.5) < 4.5 * 0.5 / np.sqrt(len(bits))
    # Where the fixed seed gives the same mask twice, as no real session does, far fewer do.
    assert len(same_mask) == 2
    assert np.unpackbits(same_mask[0].view(np.uint8)).mean() < 0.45


def test_a_hospital_by_itself_is_released_without_a_mask_and_with_all_of_its_noise() -> None:
    run = whole_run(per_site=True)
    digests = {
        frame_digest(message.content)
        for message in run.crossed
        if not message.up and message.body["kind"] == "site_evaluation"
    }
    alone = [one for one in run.up if one.body.get("query_digest") in digests]
    planned = run.plan.site_evaluation

    assert planned is not None
    assert len(alone) == SITES
    for message in alone:
        assert set(message.body) == FIELDS["sum"]
        assert message.body["masked"] is False
        executed = message.body["executed"]
        assert executed["share_multiplier"] == executed["noise_multiplier"]
        assert executed["noise_multiplier"] == planned.noise_multiplier


def test_the_transcript_holds_every_message_and_its_table_every_field(
    one: WholeRun, tmp_path: Path
) -> None:
    path = tmp_path / "deeper" / "transcript.jsonl"
    whole_run(transcript=path)
    lines = read_transcript(path)

    assert len(lines) == len(one.crossed)
    for line, message in zip(lines, one.crossed, strict=True):
        assert line.direction == ("to coordinator" if message.up else "to site")
        assert (line.node, line.kind) == (message.node, message.body["kind"])
        assert line.bytes == len(message.content)
        assert line.sha256 == hashlib.sha256(message.content).hexdigest()
        assert line.fields == message.body
        assert (line.signature is not None) == message.up
        if message.up:
            assert line.signature == message.content[-SIGNATURE:].hex()
            assert line.site == message.body["site"]
        total = message.total
        if total is not None:
            (array,) = line.arrays
            assert (array.name, array.dtype, array.shape) == ("total", "uint64", [len(total)])
            assert array.first == [int(element) for element in total[:4]]
            assert array.sha256 == hashlib.sha256(total.tobytes()).hexdigest()
    shown = io.StringIO()
    Console(file=shown, width=150).print(transcript_table(lines))
    print(f"\n{shown.getvalue()}")
    for kind in ("open_session", "session_opened", "moments", "gradient_sum", "sum"):
        assert kind in shown.getvalue()
    for field in ("executed.noise_multiplier", "offers.signature", "scale_bits"):
        assert field in shown.getvalue()


def sent(content: bytes | None) -> Message:
    record = RecordDict() if content is None else message_content(content)
    return Message(record, dst_node_id=5, message_type=MESSAGE_TYPE)


def message_content(content: bytes) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({FIELD: content})})


def test_what_came_in_place_of_an_answer_is_told(one: WholeRun, tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    transcript = Transcript(path)
    question = sent(one.crossed[0].content)
    question.metadata.__dict__["_message_id"] = "m1"
    transcript.sent(5, question)
    transcript.received(5, Message(Error(code=8, reason="SiteDown: it is down"), reply_to=question))
    transcript.received(5, Message(message_content(b"nonsense" * 20), reply_to=question))
    query, down, malformed = read_transcript(path)

    assert (query.direction, query.error) == ("to site", None)
    assert (down.direction, down.error) == ("to coordinator", "SiteDown: it is down")
    assert malformed.error is not None
    assert malformed.error.startswith("malformed: ")


def test_a_message_that_holds_more_than_a_frame_is_an_error(one: WholeRun) -> None:
    frame = one.crossed[0].content
    more = sent(frame)
    more.content["metrics"] = ConfigRecord({"loss": 0.25})
    beside = sent(frame)
    beside.content.config_records[RECORD]["patients"] = 12

    assert frame_of(sent(frame)) == frame
    for message in (more, beside, sent(None)):
        with pytest.raises(ValueError, match="something else"):
            frame_of(message)


def test_a_transcript_goes_on_where_a_kill_tore_it(one: WholeRun, tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    Transcript(path).sent(2, sent(one.crossed[0].content))
    whole = path.read_text()
    path.write_text(whole + whole[: len(whole) // 2])
    Transcript(path).sent(3, sent(one.crossed[1].content))

    assert [line.node for line in read_transcript(path)] == [2, 3]
