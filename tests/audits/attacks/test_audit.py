"""The whole audit of a small study, and how it is shown and written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedward.audits.attacks.audit import audit_attacks
from fedward.audits.attacks.gradient_inversion import inversion_caps
from fedward.audits.attacks.membership_inference import membership_caps
from fedward.audits.attacks.result import VIEWS, AttackAudit, AttackResult
from fedward.audits.attacks.side_by_side import write_pictures
from fedward.audits.attacks.table import print_attacks
from fedward.audits.attacks.trap_weights import trap_caps
from fedward.client.cohort import Cohort
from fedward.common.errors import InputError, PrivacyRefusal
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import changed
from fedward.simulations.hospitals.hospital import Hospital, Hospitals

MakeStudy = Callable[..., Study]
# One audit is made for most of these tests.
pytestmark = pytest.mark.xdist_group("attack audit")


@pytest.fixture(scope="module")
def few(make_cohort: Callable[..., Cohort]) -> Hospitals:
    sites = (Hospital(f"ward-{n}", make_cohort(30 + n, seed=n)) for n in range(3))
    return Hospitals(sites=tuple(sites), description="Generated.")


@pytest.fixture(scope="module")
def audited(study: Study, few: Hospitals) -> AttackAudit:
    return audit_attacks(study, few, seed=4)


def printed(audit: AttackAudit, *, width: int = 110) -> str:
    console = Console(width=width, file=io.StringIO())
    print_attacks(audit, console)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_every_attack_has_every_view(audited: AttackAudit, study: Study) -> None:
    names = [attack.name for attack in audited.attacks]
    assert names == [
        "trap_weights",
        "gradient_inversion",
        "membership_inference",
        "membership_inference",
    ]
    for attack in audited.attacks:
        assert tuple(figure.view for figure in attack.figures) == VIEWS
        assert all(f.value is not None and 0 <= f.value <= 1 for f in attack.figures)
    assert (audited.study_digest, audited.epsilon, audited.sites) == (study.digest, 3.0, 3)
    assert "ward-2" in audited.notes[0]


def test_the_same_seed_gives_the_same_audit(
    audited: AttackAudit, study: Study, few: Hospitals
) -> None:
    steps: list[str] = []
    again = audit_attacks(study, few, seed=4, on_step=steps.append)
    assert steps == ["Trap weights", "Gradient inversion", "Membership inference"]
    assert again.attacks == audited.attacks


def test_it_reads_back_as_it_was_written(audited: AttackAudit) -> None:
    assert AttackAudit.model_validate_json(audited.model_dump_json()) == audited


def test_few_patients_do_not_apply(
    make_study: MakeStudy, make_cohort: Callable[..., Cohort]
) -> None:
    tiny = Hospitals(
        sites=tuple(Hospital(f"ward-{n}", make_cohort(3, seed=n)) for n in range(3)),
        description="Generated.",
    )
    audit = audit_attacks(make_study(), tiny, seed=4)
    for attack in audit.attacks[2:]:
        assert attack.worked_against_release is None
        assert all(figure.value is None for figure in attack.figures)
    assert "not applicable: needs 8 patients at one hospital" in printed(audit)


def test_a_study_that_cannot_be_protected_is_refused(study: Study, few: Hospitals) -> None:
    with pytest.raises(PrivacyRefusal, match="minimum_sites is 5"):
        audit_attacks(changed(study, {"cohort": {"minimum_sites": 5}}), few)


def test_the_table_shows_figures_and_a_record_side_by_side(audited: AttackAudit) -> None:
    text = printed(audited)
    trap = audited.attacks[0]
    line = next(line for line in text.splitlines() if line.startswith("Can records be read"))
    assert [f"{figure.value:.1%}" for figure in trap.figures] == [
        cell for cell in line.split() if "%" in cell
    ][:4]
    area = next(line for line in text.splitlines() if line.startswith("Was this patient"))
    assert f"{audited.attacks[2].figures[0].value:.3f}" in area
    shown = trap.reconstructions[0]
    row = next(line for line in text.splitlines() if line.startswith("x0 "))
    assert row.split()[1] == f"{shown.true[0]:.4g}"
    assert len(row.split()) == 6


def test_the_table_tells_each_verdict_and_the_error_of_an_area(audited: AttackAudit) -> None:
    worked = (True, False, None, False)
    attacks = tuple(
        attack.model_copy(update={"worked_against_release": verdict})
        for attack, verdict in zip(audited.attacks, worked, strict=True)
    )
    text = printed(audited.model_copy(update={"attacks": attacks}), width=200)

    told = [line.strip() for line in text.splitlines() if line.startswith("fedward: ")]
    assert told == [
        "fedward: the attack worked",
        "fedward: not told from guessing",
        "fedward: not applicable",
        "fedward: not told from guessing",
    ]
    errors = [figure.error for figure in audited.attacks[2].figures]
    assert all(error is not None for error in errors)
    assert f"±{errors[3]:.3f}" in text
    assert all(figure.error is None for figure in audited.attacks[0].figures)


def test_what_was_capped_is_told() -> None:
    study = load_study(find_study("breast_cancer"))
    assert not trap_caps(study)
    assert not inversion_caps(study, sites=4)
    assert not membership_caps(study, patients=569)

    longer = changed(study, {"training": study.training.model_dump() | {"rounds": 300}})
    assert trap_caps(longer) == ("Trap weights are sent in 100 of 300 rounds.",)
    assert inversion_caps(longer, sites=9) == (
        "Gradient inversion averages 40 of 300 rounds.",
        "Gradient inversion attacks 4 hospitals of 9.",
    )
    assert membership_caps(longer, patients=5000) == (
        "LiRA uses 100 of 300 rounds.",
        "LiRA judges about 600 of 5000 patients.",
    )


def test_pictures_are_shown_by_shades(audited: AttackAudit) -> None:
    dark, light = (0.0,) * 8, (0.0,) * 4 + (255.0,) * 4
    picture = (
        audited.attacks[0]
        .reconstructions[0]
        .model_copy(
            update={
                "names": tuple(f"pixel_{n // 4}_{n % 4}" for n in range(8)),
                "true": light,
                "found": {"raw": light, "clipped": light, "masked": dark, "noised": None},
                "picture": (2, 4),
            }
        )
    )
    attack = audited.attacks[0].model_copy(update={"reconstructions": (picture,)})
    text = printed(audited.model_copy(update={"attacks": (attack,)}))
    bright = next(line for line in text.splitlines() if "@@@@" in line)
    assert bright.count("@@@@") == 3


def test_records_are_drawn_as_svg_and_png(audited: AttackAudit, tmp_path: Path) -> None:
    paths = write_pictures(audited, tmp_path / "new")
    assert {path.name for path in paths} >= {"trap-weights-1.svg", "gradient-inversion-1.png"}
    assert (tmp_path / "new" / "trap-weights-1.png").read_bytes().startswith(b"\x89PNG")
    drawing = (tmp_path / "new" / "trap-weights-1.svg").read_text("utf-8")
    assert "<svg" in drawing
    count = sum(len(attack.reconstructions) for attack in audited.attacks)
    assert len(paths) == 2 * count
    again = write_pictures(audited, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_real_pictures_are_drawn(audited: AttackAudit, tmp_path: Path) -> None:
    shown = (
        audited.attacks[0]
        .reconstructions[0]
        .model_copy(
            update={
                "true": (0.0, 1.0, 2.0, 3.0),
                "found": dict.fromkeys(VIEWS, (0.0, 1.0, 2.0, 3.0)) | {"noised": None},
                "picture": (2, 2),
            }
        )
    )
    attack: AttackResult = audited.attacks[0].model_copy(update={"reconstructions": (shown,)})
    paths = write_pictures(audited.model_copy(update={"attacks": (attack,)}), tmp_path)
    assert "<image" in paths[0].read_text("utf-8")


def test_a_folder_that_cannot_be_written_to_is_told(audited: AttackAudit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        write_pictures(audited, tmp_path / "file")


def folder(tmp_path: Path, make_cohort: Callable[..., Cohort]) -> tuple[Path, Path]:
    study = tmp_path / "small.toml"
    study.write_text(
        '[about]\nname = "small"\ntitle = "Small"\n'
        '[target]\nname = "ill"\npositive = ["1"]\nnegative = ["0"]\n'
        "[cohort]\nexpected_patients = 60\n"
        '[model]\nname = "logistic_regression"\n'
        '[training]\nmethod = "distributed"\nrounds = 4\nlearning_rate = 1.0\n'
        "[privacy]\nepsilon = 3.0\ndelta = 1e-4\n"
        + "".join(
            f'[[features]]\nname = "x{n}"\nkind = "numeric"\nunit = "u"\nrange = [-1, 1]\n'
            for n in range(3)
        )
    )
    data = tmp_path / "data"
    data.mkdir()
    for name in ("north", "south"):
        cohort = make_cohort(25, seed=len(name), most_rows=1)
        rows = [
            ",".join([*(f"{value:.6f}" for value in row), str(int(ill))])
            for row, ill in zip(cohort.features, cohort.target, strict=True)
        ]
        (data / f"{name}.csv").write_text("\n".join(["x0,x1,x2,ill", *rows]) + "\n")
    return study, data


def test_the_command_attacks_a_folder_and_writes_what_it_found(
    tmp_path: Path, make_cohort: Callable[..., Cohort], capsys: pytest.CaptureFixture[str]
) -> None:
    from fedward.audits.attacks.command_line import attack

    study, data = folder(tmp_path, make_cohort)
    json, pictures = tmp_path / "new" / "attack.json", tmp_path / "pictures"
    attack(str(study), data=data, json=json, pictures=pictures, seed=1)

    found = AttackAudit.model_validate_json(json.read_text("utf-8"))
    assert (found.study_name, found.sites, found.seed) == ("small", 2, 1)
    assert (pictures / "trap-weights-1.svg").exists()
    output = capsys.readouterr().out
    assert "Attacks on small" in output
    assert "Written:" in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"data": "data", "sites": 3}, "--sites: 3 goes with the built-in data"),
        ({"data": "nowhere"}, "there is no such folder"),
        ({"data": None}, "give the hospitals' own files with --data"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path,
    make_cohort: Callable[..., Cohort],
    arguments: dict[str, Any],
    complaint: str,
) -> None:
    from fedward.audits.attacks.command_line import attack

    study, _ = folder(tmp_path, make_cohort)
    if arguments["data"] is not None:
        arguments = arguments | {"data": tmp_path / arguments["data"]}
    with pytest.raises(InputError, match=complaint):
        attack(str(study), **arguments)
