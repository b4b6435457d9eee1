from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.server.run_options import RunOptions
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedSite, train

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]


def test_one_engine_runs_many_federations(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    engine = InProcessEngine()
    runs = [
        train(
            study,
            make_sites(study, noise_seed=seed),
            engine=engine,
            options=make_options(study=study),
        )
        for seed in (1, 2, 1)
    ]
    engine.close()

    # Ledgers begin anew with each run, so the third is not refused.
    assert runs[0].state.to_frame() == runs[2].state.to_frame() != runs[1].state.to_frame()


def test_it_says_where_the_vaults_time_went(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    run = train(
        study, make_sites(study), engine=InProcessEngine(), options=make_options(study=study)
    )

    assert run.timings is not None
    # A scaler, four rounds and an evaluation.
    assert [one.releases for one in run.timings] == [6, 6, 6]


def test_a_site_that_cannot_take_part_says_so(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    study = make_study(cohort={"max_patients_per_site": 20})

    with pytest.raises(InputError, match=r"site-2: has more .*patients"):
        train(study, make_sites(study), engine=InProcessEngine(), options=make_options(study=study))
