"""A run's folder with real books of a small study, and audits of it beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.audits.attacks.result import VIEWS, AttackAudit, AttackFigure, AttackResult
from fedward.audits.attacks.result import Reconstruction as Record
from fedward.audits.empirical.f_dp_bound import f_dp_epsilon
from fedward.audits.empirical.guess_choice import METHODS
from fedward.audits.empirical.guesses import Guessed
from fedward.audits.empirical.one_run_bound import one_run_epsilon
from fedward.audits.empirical.result import AuditedClaim, EmpiricalAudit, LowerBound, MeterResult
from fedward.audits.findings import CheckResult
from fedward.audits.report.document import AuditReport
from fedward.audits.report.gathering import gather
from fedward.common.ledger.entries import ChargedEvent
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import plan_for
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MADE = "2026-11-21T16:00:00Z"
GUESSES = (1000, 200, 150)


@pytest.fixture(scope="session")
def books_only(
    tmp_path_factory: pytest.TempPathFactory,
    study: Study,
    make_sites: Callable[..., Any],
    make_options: Callable[..., Any],
) -> Path:
    """A run of three sites with books and nothing beside them. Not to be changed."""
    from fedward.common.privacy.random_source import RandomSource
    from fedward.simulations.books import BOOKS_NAME, Books
    from fedward.simulations.credentials import Credentials
    from fedward.simulations.engines.in_process_engine import InProcessEngine

    folder = tmp_path_factory.mktemp("runs") / "small-run"
    folder.mkdir()
    sites = make_sites(study)
    credentials = Credentials.issue(
        [site.name for site in sites], run_id="tests", randomness=RandomSource.insecure(0)
    )
    Books(folder / BOOKS_NAME, credentials=credentials).train(
        study, sites, engine=InProcessEngine(), options=make_options(study=study)
    )
    return folder


@pytest.fixture(scope="session")
def empirical(study: Study) -> EmpiricalAudit:
    """An empirical audit of the small study, whose lower bounds follow from its guesses."""
    canaries, guesses, correct = GUESSES
    guessed = Guessed(canaries=canaries, guesses=guesses, correct=correct)
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    count = plan.training.count

    def claim(name: Any, claimed: float, event: GaussianEvent) -> AuditedClaim:
        counts = {"canaries": canaries, "guesses": guesses, "correct": correct}
        one_run = one_run_epsilon(guessed, delta=1e-4, confidence=0.95)
        f_dp = f_dp_epsilon(guessed, (event,), delta=1e-4, confidence=0.95)
        return AuditedClaim(
            name=name,
            claimed=claimed,
            delta=1e-4,
            bounds=tuple(
                LowerBound(method=method, epsilon=epsilon, confidence=0.95, **counts)
                for method, epsilon in zip(METHODS, (one_run, f_dp), strict=True)
            ),
            events=(ChargedEvent.of(event),),
        )

    return EmpiricalAudit(
        study_name=study.about.name,
        study_digest=study.digest,
        sites=3,
        canaries=canaries,
        data_description="Patients were made up.",
        seed=1,
        meters=(
            _meter("noise_variance", passed=True, observed=1.01),
            _meter("sampler", passed=None, observed=None),
        ),
        claims=(
            claim("epsilon", plan.training_epsilon, plan.training.event(count)),
            claim("epsilon_alone", plan.training_epsilon_alone, plan.training.event_alone(count)),
        ),
        notes=("A note of the empirical audit.",),
        seconds=1.5,
        versions={"fedward": "0.1.0"},
    )


@pytest.fixture(scope="session")
def attacks(study: Study) -> AttackAudit:
    """Three attacks: one with a table of records, one with pictures, one with neither."""
    names = ("x0", "x1", "x2")
    table = Record(
        names=names,
        true=(0.25, -0.5, 0.75),
        found={
            "raw": (0.25, -0.5, 0.75),
            "clipped": (0.2, -0.4, 0.7),
            "masked": None,
            "noised": (9.0, 9.0, -9.0),
        },
        picture=None,
    )
    picture = Record(
        names=tuple(f"pixel_{row}_{column}" for row in range(2) for column in range(3)),
        true=(0.0, 51.0, 102.0, 153.0, 204.0, 255.0),
        found={"raw": (0.0, 51.0, 102.0, 153.0, 204.0, 300.0), "noised": (-9.0,) * 6},
        picture=(2, 3),
    )
    figures = {"raw": 0.8, "clipped": 0.6, "masked": 0.7, "noised": 0.0}
    tried = tuple(AttackFigure(view=view, value=figures[view], chance=0.01) for view in VIEWS)
    failed = AttackFigure(view="masked", value=None, chance=0.01, why="too many patients")
    return AttackAudit(
        study_name=study.about.name,
        study_digest=study.digest,
        sites=3,
        data_description="The records are made up.",
        seed=1,
        epsilon=3.0,
        delta=1e-4,
        attacks=(
            _attack("trap_weights", "Trap weights", tried, (table,)),
            _attack("gradient_inversion", "Gradient inversion", (tried[0], failed), (picture,)),
            _attack("membership_inference", "Membership inference", tried, ()),
        ),
        notes=("A note of the attacks.",),
        seconds=1.0,
        versions={},
    )


@pytest.fixture(scope="session")
def run_folder(
    books_only: Path,
    empirical: EmpiricalAudit,
    attacks: AttackAudit,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The same with both audits. Not to be changed."""
    folder = tmp_path_factory.mktemp("audited") / "small-run"
    shutil.copytree(books_only, folder)
    (folder / "audit").mkdir()
    (folder / "audit" / "empirical.json").write_text(empirical.model_dump_json(), "utf-8")
    (folder / "audit" / "attack.json").write_text(attacks.model_dump_json(), "utf-8")
    return folder


@pytest.fixture
def own_run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of it for one test to change."""
    folder = tmp_path / "small-run"
    shutil.copytree(run_folder, folder)
    return folder


@pytest.fixture(scope="session")
def federation_key(books_only: Path) -> str:
    """The federation's public key, as its sites keep it."""
    return (books_only / "books" / "federation.pub").read_text().strip()


@pytest.fixture(scope="session")
def body(run_folder: Path, federation_key: str) -> AuditReport:
    return gather(run_folder, made=MADE, fresh_key=False, federation_key=federation_key)


@pytest.fixture(scope="session")
def auditor() -> SiteIdentity:
    return SiteIdentity.from_private_bytes(bytes(range(32)))


def _meter(name: str, *, passed: bool | None, observed: float | None) -> MeterResult:
    return MeterResult(
        check=CheckResult(name=name, passed=passed, sentence=f"What {name} says."),
        observed=observed,
        expected=1.0,
        unit="planned variance",
        p_value=0.5,
    )


def _attack(
    name: Any, title: str, figures: tuple[AttackFigure, ...], records: tuple[Record, ...]
) -> AttackResult:
    return AttackResult(
        name=name,
        title=title,
        measure="share of records",
        explanation=f"How {title} goes.",
        figures=figures,
        worked_against_release=False,
        reconstructions=records,
    )
