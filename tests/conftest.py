"""A small study, cohorts for it, and vaults over them: what most tests of the whole begin with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.gate import SitePolicy
from fedward.client.vault.ledger import Ledger, MemoryLedger
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.client.vault.vault import Vault
from fedward.common.privacy.random_source import RandomSource
from fedward.common.protocol.queries import (
    AnySumQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    MomentsQuery,
    encode_query,
)
from fedward.common.protocol.releases import Answer, decode_answer
from fedward.common.secure_sum.masks import NoMasks
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
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
MakeVault = Callable[..., Vault]
MakeSites = Callable[..., list[SimulatedSite]]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]


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
    """Three sites of unequal size, ``site-0`` .. ``site-2``."""

    def make(
        study: Study,
        *,
        protection: Protection | None = None,
        noise_seed: int | None = None,
        policy: SitePolicy | None = None,
        count: int = len(ROSTER),
    ) -> list[SimulatedSite]:
        return [
            SimulatedSite(
                name=f"site-{number}",
                cohort=make_cohort(
                    15 + 5 * number, columns=Dimensions.of(study).columns, seed=number
                ),
                study=study,
                protection=protection or PlannedProtection(),
                policy=policy or SitePolicy(known_sites=KNOWN_SITES),
                insecure_noise_seed=noise_seed,
            )
            for number in range(count)
        ]

    return make


@pytest.fixture(scope="session")
def make_vault(make_cohort: MakeCohort) -> MakeVault:
    """The vault of ``site-0``, or of another site."""

    def make(
        study: Study,
        *,
        cohort: Cohort | None = None,
        site: str = "site-0",
        policy: SitePolicy | None = None,
        ledger: Ledger | None = None,
        protection: Protection | None = None,
        noise_seed: int | None = None,
    ) -> Vault:
        return Vault(
            site=site,
            cohort=cohort or make_cohort(columns=Dimensions.of(study).columns),
            studies={study.digest: study},
            policy=policy or SitePolicy(known_sites=KNOWN_SITES),
            ledger=MemoryLedger() if ledger is None else ledger,
            protection=protection or PlannedProtection(),
            masks=NoMasks(),
            randomness=(
                RandomSource.from_os() if noise_seed is None else RandomSource.insecure(noise_seed)
            ),
        )

    return make


@pytest.fixture(scope="session")
def make_query() -> MakeQuery:
    """A query for a sum as the coordinator would ask it: ``kind`` and what differs from it."""
    kinds: dict[str, type[AnySumQuery]] = {
        "moments": MomentsQuery,
        "gradient_sum": GradientSumQuery,
        "local_update": LocalUpdateQuery,
    }

    def make(study: Study, kind: str = "gradient_sum", **changes: Any) -> AnySumQuery:
        fields = {
            "run_id": "run",
            "study_digest": study.digest,
            "roster": ROSTER,
            "round": 0 if kind == "moments" else 1,
            "attempt": 1,
        }
        return kinds[kind](**(fields | changes))

    return make


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Put a query to a vault, with zeros for a model and the identity for a scaler by default."""

    def put(
        vault: Vault, study: Study, query: AnySumQuery, **arrays: NDArray[np.float64]
    ) -> tuple[Answer, NDArray[np.uint64] | None]:
        dimensions = Dimensions.of(study)
        given: dict[str, NDArray[np.float64]] = {}
        if query.kind != "moments":
            given = {
                "parameters": np.zeros(dimensions.parameters),
                "center": np.zeros(dimensions.columns),
                "scale": np.ones(dimensions.columns),
            }
        return decode_answer(vault.answer(encode_query(query, given | arrays)))

    return put
