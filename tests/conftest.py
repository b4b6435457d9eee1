"""A small study, cohorts for it, and vaults over them: what most tests of the whole begin with."""

from __future__ import annotations

import copy
import os
import select
import signal
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.vault import Vault
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    AnySumQuery,
    CountsQuery,
    EvaluationQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    MomentsQuery,
    SiteEvaluationQuery,
    encode_query,
)
from fedward.common.protocol.releases import Answer, decode_answer
from fedward.common.protocol.round_numbers import (
    MOMENTS_ROUND,
    counts_round,
    evaluation_round,
    site_evaluation_round,
)
from fedward.common.protocol.sealed import open_sealed
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

if TYPE_CHECKING:
    from fedward.client.vault.protection import Protection
    from fedward.server.run_options import RunOptions
    from fedward.simulations.credentials import Credentials
    from fedward.simulations.federation import SimulatedSite

# Machines are busy: how long an example takes says nothing about the code.
settings.register_profile("fedward", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedward")

KNOWN_SITES = frozenset(f"site-{number}" for number in range(10_000)) | {"Cleveland_2.a"}

COLUMNS = 3
DISTRIBUTED: dict[str, Any] = {
    "about": {"name": "small", "title": "A small study"},
    "features": [
        {"kind": "numeric", "name": f"x{column}", "unit": "u", "range": (-1.0, 1.0)}
        for column in range(COLUMNS)
    ],
    "target": {"name": "ill", "positive": ("yes",), "negative": ("no",)},
    "cohort": {"expected_patients": 60},
    "scaling": {"method": "private_moments"},
    "model": {"name": "logistic_regression"},
    "training": {"method": "distributed", "rounds": 4, "learning_rate": 1.0, "momentum": 0.5},
    "privacy": {"epsilon": 3.0, "delta": 1e-4},
}
LOCAL = DISTRIBUTED | {
    "training": {
        "method": "local",
        "rounds": 3,
        "epochs": 1,
        "sampling_rate": 0.5,
        "learning_rate": 0.5,
    },
    "privacy": {"epsilon": 3.0, "delta": 1e-4, "trust": "none"},
}
ROSTER = ("site-0", "site-1", "site-2")

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeSites = Callable[..., "list[SimulatedSite]"]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]


@pytest.fixture(scope="session")
def in_a_fork() -> Callable[[Callable[[], object]], str]:
    """What a call returns or raises (as ``repr``) in a forked child of this process."""

    def called(call: Callable[[], object]) -> str:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Other threads may run here; the child uses none of their locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                found = repr(call())
            except BaseException as error:
                found = repr(error)
            os.write(writer, found[:4096].encode())
            os._exit(0)
        os.close(writer)
        ready, _, _ = select.select([reader], [], [], 60)
        if not ready:
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reader) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        assert text, "the child did not answer"
        return text

    return called


@pytest.fixture(scope="session")
def make_study() -> MakeStudy:
    """Build the small study; ``local=True`` for local training, tables to replace by keyword."""

    def make(*, local: bool = False, columns: int = COLUMNS, **tables: dict[str, Any]) -> Study:
        document = copy.deepcopy(LOCAL if local else DISTRIBUTED)
        document["features"] = [
            {"kind": "numeric", "name": f"x{column}", "unit": "u", "range": (-1.0, 1.0)}
            for column in range(columns)
        ]
        for name, fields in tables.items():
            whole = name in {"training", "features"}
            document[name] = fields if whole else document.get(name, {}) | fields
        return Study.model_validate(document)

    return make


@pytest.fixture(scope="session")
def study(make_study: MakeStudy) -> Study:
    return make_study()


@pytest.fixture(scope="session")
def local_study(make_study: MakeStudy) -> Study:
    return make_study(local=True)


@pytest.fixture(scope="session")
def make_cohort() -> MakeCohort:
    """Patients whose outcome follows the first column; features within [-1, 1]."""

    def make(
        patients: int = 20, *, columns: int = COLUMNS, seed: int = 0, most_rows: int = 3
    ) -> Cohort:
        generator = np.random.default_rng(seed)
        owners = np.repeat(np.arange(patients), generator.integers(1, most_rows + 1, patients))
        features = generator.uniform(-1, 1, (len(owners), columns))
        chance = generator.uniform(-0.5, 0.5, len(owners))
        return Cohort.from_rows(
            features=features,
            target=(features[:, 0] + chance > 0).astype(np.float64),
            patients=owners,
        )

    return make


@pytest.fixture(scope="session")
def make_sites(make_cohort: MakeCohort) -> MakeSites:
    """Three sites of unequal size, ``site-0`` .. ``site-2``, whose keys are always the same.

    ``policy`` holds what differs from a policy that knows these sites and allows nothing more.
    """

    def make(
        study: Study,
        *,
        protection: Protection | None = None,
        noise_seed: int | None = None,
        policy: dict[str, Any] | None = None,
        count: int = len(ROSTER),
        **others: Any,
    ) -> list[SimulatedSite]:
        from fedward.client.vault.policy import SitePolicy
        from fedward.client.vault.protection import PlannedProtection
        from fedward.simulations.federation import SimulatedSite

        columns = Dimensions.of(study).columns
        credentials = _credentials(tuple(f"site-{number}" for number in range(count)))
        keys = {
            "federation_key": credentials.federation_key,
            "known_keys": credentials.known_keys,
        }
        return [
            SimulatedSite(
                name=name,
                identity=private,
                cohort=make_cohort(15 + 5 * number, columns=columns, seed=number),
                held_out=make_cohort(6 + number, columns=columns, seed=100 + number),
                study=study,
                protection=protection or PlannedProtection(),
                policy=SitePolicy(**(keys | (policy or {}))),
                insecure_noise_seed=noise_seed,
                **others,
            )
            for number, (name, private) in enumerate(credentials.identities.items())
        ]

    return make


@pytest.fixture(scope="session")
def make_options() -> Callable[..., RunOptions]:
    """Options of a run named "run" over the sites of ``make_sites``, by their number or names.

    Vaults that protect a study need its budget: that of ``study``, None for vaults that do not.
    """

    def make(
        sites: int | Sequence[str] = len(ROSTER), *, study: Study | None = None, **changes: Any
    ) -> RunOptions:
        from fedward.common.privacy.budget import RunBudget
        from fedward.common.privacy.plan import plan_for
        from fedward.common.secure_sum.signatures import SiteIdentity
        from fedward.server.run_options import RunOptions

        names = sites if not isinstance(sites, int) else [f"site-{n}" for n in range(sites)]
        credentials = _credentials(tuple(names))
        fields: dict[str, Any] = {
            "run_id": "run",
            "signed_roster": credentials.signed_roster,
            "federation_key": credentials.federation_key,
            "coordinator": SiteIdentity.from_private_bytes(credentials.coordinator),
        }
        if study is not None:
            longest = Dimensions.of(study).longest
            fields["budget"] = RunBudget(plan_for(study, sites=len(names), coordinates=longest))
        return RunOptions(**(fields | changes))

    return make


@cache
def _credentials(names: tuple[str, ...]) -> Credentials:
    from fedward.common.privacy.random_source import RandomSource
    from fedward.simulations.credentials import Credentials

    return Credentials.issue(names, run_id="tests", randomness=RandomSource.insecure(0))


@pytest.fixture(scope="session")
def make_query() -> MakeQuery:
    """A query for a sum as the coordinator would ask it: ``kind`` and what differs from it."""
    kinds: dict[str, type[AnySumQuery]] = {
        "moments": MomentsQuery,
        "counts": CountsQuery,
        "gradient_sum": GradientSumQuery,
        "local_update": LocalUpdateQuery,
        "evaluation": EvaluationQuery,
        "site_evaluation": SiteEvaluationQuery,
    }

    def round_of(study: Study, kind: str) -> int:
        rounds = {
            "moments": MOMENTS_ROUND,
            "counts": counts_round(study),
            "evaluation": evaluation_round(study),
            "site_evaluation": site_evaluation_round(study),
        }
        return rounds.get(kind, 1)

    def make(study: Study, kind: str = "gradient_sum", **changes: Any) -> AnySumQuery:
        fields = {
            "run_id": "run",
            "study_digest": study.digest,
            "session": 1,
            "roster": ROSTER,
            "round": round_of(study, kind),
            "attempt": 1,
        }
        return kinds[kind](**(fields | changes))

    return make


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Put a query to a vault, with zeros for a model and the identity for a scaler by default.

    The seal is not looked at.
    """

    def put(
        vault: Vault, study: Study, query: AnySumQuery, **arrays: NDArray[np.float64]
    ) -> tuple[Answer, NDArray[np.uint64] | None]:
        dimensions = Dimensions.of(study)
        given = {
            "parameters": np.zeros(dimensions.parameters),
            "center": np.zeros(dimensions.columns),
            "scale": np.ones(dimensions.columns),
        } | arrays
        frame = encode_query(query, {name: given[name] for name in ARRAYS_OF[query.kind]})
        return decode_answer(open_sealed(vault.answer(frame)).frame)

    return put
