"""Wall time of one study on the in-process grid, on Ray actors and under Flower's own engine.

One run of each, in one process and in this order, start-up included. ``measure`` returns rows for
``benchmarks/run.py``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from fedward.client.vault.gate import SitePolicy
from fedward.client.vault.protection import PlannedProtection
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.server.coordinator import RunOptions
from fedward.simulations.arms import changed
from fedward.simulations.engines.flower_engine import FlowerEngine
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.engines.ray_engine import RayEngine
from fedward.simulations.federation import Engine, SimulatedSite, train
from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals

FLOWER_RATIO_TARGET = 20.0
MANY_SITES_SECONDS_TARGET = 60.0


@dataclass(frozen=True, kw_only=True)
class EngineRow:
    """One engine's wall time, and the digest of the model that it gave."""

    engine: str
    sites: int
    rounds: int
    seconds: float
    model: str


def measure() -> list[EngineRow]:
    """Run 4 sites x 20 rounds on all three engines, and 500 sites x 10 rounds in process."""
    torch.set_num_threads(1)
    few = _study(rounds=20)
    rows = [_timed(few, InProcessEngine, sites=4)]
    rows.append(_timed(few, RayEngine, sites=4))
    rows.append(_timed(few, FlowerEngine, sites=4))
    rows.append(_timed(_study(rounds=10, sites=500), InProcessEngine, sites=500))
    return rows


def _study(*, rounds: int, sites: int = 4) -> Study:
    study = load_study(find_study("breast_cancer"))
    training = study.training.model_dump() | {"rounds": rounds, "average_last": 1}
    changes = {"training": training}
    if sites > 4:
        changes |= {"cohort": {"expected_patients": 100 * sites}, "privacy": {"delta": 1e-6}}
    return changed(study, changes)


def _timed(study: Study, engine_type: type[Engine], *, sites: int) -> EngineRow:
    hospitals = breast_cancer_hospitals(study, sites=sites, seed=0)
    simulated = [
        SimulatedSite(
            name=hospital.name,
            cohort=hospital.cohort,
            study=study,
            protection=PlannedProtection(),
            policy=SitePolicy(),
            insecure_noise_seed=0,
        )
        for hospital in hospitals.sites
    ]
    started = time.perf_counter()
    engine = engine_type()
    run = train(
        study,
        simulated,
        engine=engine,
        options=RunOptions(run_id="benchmark", expected_sites=sites),
    )
    engine.close()
    return EngineRow(
        engine=engine.name,
        sites=sites,
        rounds=study.training.rounds,
        seconds=time.perf_counter() - started,
        model=run.state.model_parameters.tobytes().hex()[:16],
    )
