from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from fedward.audits.report.document import AuditReport
from fedward.audits.report.gathering import gather
from fedward.audits.report.run_inputs import ledger_digest
from fedward.client.vault.ledger_file import raw_of_file
from fedward.common.errors import InputError
from fedward.common.study.definition import Study

MADE = "2026-11-21T16:00:00Z"


def test_a_run_in_order_is_vouched_for(body: AuditReport, study: Study) -> None:
    assert not body.failed
    assert body.vouched_for
    assert all(check.passed is not None for check in body.all_checks)
    assert [site.site for site in body.sites] == ["site-0", "site-1", "site-2"]
    assert body.study.digest == study.digest
    assert body.run.masked is True
    assert body.run.simulated is False
    for site in body.sites:
        account = site.of_study(study.digest)
        assert account is not None
        assert account.epsilon is not None
        assert account.epsilon_alone is not None
        assert 0.9 * study.privacy.epsilon < account.epsilon <= study.privacy.epsilon
        assert account.epsilon_alone > account.epsilon


def test_every_input_is_evidence_and_no_secret_is(body: AuditReport, run_folder: Path) -> None:
    found = {item.path: item for item in body.evidence}
    expected = {
        path.relative_to(run_folder).as_posix()
        for path in run_folder.rglob("*")
        if path.is_file() and path.suffix not in {".key", ".lock"}
    }
    assert set(found) == {path for path in expected if not path.endswith(("-wal", "-shm"))}
    for path, item in found.items():
        file = run_folder / path
        if item.kind == "file":
            assert item.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        else:
            lines = raw_of_file(file).lines
            assert (item.entries, item.sha256) == (len(lines), ledger_digest(lines))


def test_no_place_on_this_machine_is_told(body: AuditReport, run_folder: Path) -> None:
    text = body.model_dump_json()
    assert str(run_folder) not in text
    assert str(run_folder.parent) not in text


def test_gathering_twice_gives_the_same(
    body: AuditReport, run_folder: Path, federation_key: str
) -> None:
    again = gather(run_folder, made=MADE, fresh_key=False, federation_key=federation_key)
    assert again == body


def test_a_key_that_the_folder_alone_names_is_told(body: AuditReport, run_folder: Path) -> None:
    own = gather(run_folder, made=MADE, fresh_key=False)
    assert body.run.federation_key_given
    assert not own.run.federation_key_given
    assert "roster" in {check.name for check in own.all_checks if check.passed is None}


def test_it_works_without_audits_beside_the_books(books_only: Path) -> None:
    found = gather(books_only, made=MADE, fresh_key=True)
    assert found.empirical is None
    assert found.attacks is None
    assert found.vouched_for


def test_records_can_be_left_out(run_folder: Path) -> None:
    found = gather(run_folder, made=MADE, fresh_key=True, records=False)
    assert found.attacks is not None
    assert all(not attack.reconstructions for attack in found.attacks.attacks)
    assert not found.records_shown
    assert "pixel_0_0" not in found.model_dump_json()


def test_audits_of_another_study_do_not_count_for_this_run(own_run: Path) -> None:
    for name in ("empirical.json", "attack.json"):
        edit(own_run / "audit" / name, study_digest="0" * 64)
    found = gather(own_run, made=MADE, fresh_key=True)
    checks = {check.name: check for check in found.checks}
    assert checks["empirical audit"].passed is None
    assert checks["attacks"].passed is None
    assert found.study.digest not in checks["attacks"].sentence


def test_a_failed_meter_or_a_broken_claim_is_not_vouched_for(own_run: Path) -> None:
    path = own_run / "audit" / "empirical.json"
    whole = path.read_text()
    document = json.loads(whole)
    document["meters"][0]["check"]["passed"] = False
    path.write_text(json.dumps(document))
    found = gather(own_run, made=MADE, fresh_key=True)
    assert [check.name for check in found.failed] == ["noise_variance"]
    assert not found.vouched_for

    document = json.loads(whole)
    document["claims"][0]["bounds"][0]["epsilon"] = 5.0
    path.write_text(json.dumps(document))
    found = gather(own_run, made=MADE, fresh_key=True)
    assert not found.failed
    assert not found.vouched_for


def test_books_of_another_study_are_not_vouched_for(own_run: Path) -> None:
    edit(own_run / "books" / "study.json", privacy={"epsilon": 1.0, "delta": 1e-4})
    found = gather(own_run, made=MADE, fresh_key=True)
    promise = next(check for check in found.checks if check.name == "promise")
    assert promise.passed is None
    assert not found.vouched_for


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("attack.json", {"epsilon": math.nan}, "not finite"),
        ("attack.json", {"attacks": 3}, "attacks is damaged"),
        ("empirical.json", {"format": "other"}, "format is damaged"),
    ],
)
def test_a_damaged_audit_is_an_error_of_one_sentence(
    name: str, change: dict[str, Any], words: str, own_run: Path
) -> None:
    edit(own_run / "audit" / name, **change)
    with pytest.raises(InputError) as caught:
        gather(own_run, made=MADE, fresh_key=True)
    assert name in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("record", "change"),
    [(0, {"true": [1.0]}), (1, {"picture": [2, 2]}), (1, {"picture": [0, 0]})],
)
def test_records_of_another_shape_are_refused(
    record: int, change: dict[str, Any], own_run: Path
) -> None:
    path = own_run / "audit" / "attack.json"
    document = json.loads(path.read_text())
    document["attacks"][record]["reconstructions"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="record 1"):
        gather(own_run, made=MADE, fresh_key=True)


def test_a_folder_without_books_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no books to report on"):
        gather(tmp_path, made=MADE, fresh_key=True)


def test_a_damaged_ledger_fails_and_is_not_left_out_in_silence(own_run: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(own_run / "books" / "sites" / "site-1" / "ledger.sqlite")
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    for (name,) in connection.execute(triggers).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    with connection:
        connection.execute("UPDATE entries SET body = 'x' || body WHERE sequence = 3")
    connection.close()
    found = gather(own_run, made=MADE, fresh_key=True)
    assert [site.site for site in found.sites] == ["site-0", "site-2"]
    names = {check.name for check in found.failed}
    assert {"text", "complete"} <= names


def test_a_site_whose_ledger_is_not_there_is_named(own_run: Path) -> None:
    import shutil

    for site in ("site-0", "site-2"):
        shutil.rmtree(own_run / "books" / "sites" / site)
    found = gather(own_run, made=MADE, fresh_key=True)
    assert [site.site for site in found.sites] == ["site-1"]
    assert found.without_ledger == ("site-0", "site-2")
    assert "complete" in {check.name for check in found.failed}
    assert not found.vouched_for
    # The roster by itself tells, too.
    (own_run / "books" / "coordinator.jsonl").unlink()
    assert gather(own_run, made=MADE, fresh_key=True).without_ledger == ("site-0", "site-2")


def test_a_claim_that_the_plan_does_not_make_is_not_vouched_for(own_run: Path) -> None:
    path = own_run / "audit" / "empirical.json"
    document = json.loads(path.read_text())
    document["claims"][0]["claimed"] = 100.0
    path.write_text(json.dumps(document))
    found = gather(own_run, made=MADE, fresh_key=True)
    assert [check.name for check in found.failed] == ["audited claims"]
    assert not found.vouched_for


def test_seeded_noise_voids_everything(own_run: Path, study: Study) -> None:
    from fedward.simulations.run_folder import SETTINGS, ExperimentSettings

    settings = ExperimentSettings(
        study=study,
        study_source="small.toml",
        data_folder=None,
        sites=3,
        data_digest="0",
        epsilons=(3.0,),
        seeds=(0,),
        insecure_noise_seed=7,
        command="fedward simulate",
        started="now",
        notes=("A note of the run.",),
    )
    (own_run / SETTINGS).write_text(settings.model_dump_json())
    found = gather(own_run, made=MADE, fresh_key=True)
    assert found.run.insecure_noise_seed == 7
    assert found.run.simulated
    assert found.notes == ("A note of the run.",)
    assert not found.failed
    assert not found.vouched_for


def edit(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | changes))
