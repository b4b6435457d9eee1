"""``fedward audit empirical``: rehearse a study on real vaults, and try to catch it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedward.common.errors import InputError

if TYPE_CHECKING:
    from fedward.client.cohort import Cohort
    from fedward.common.study.definition import Study

DEFAULT_STUDY = "breast_cancer"


def empirical(
    study: Annotated[
        str, typer.Argument(help="A study file, or the name of a shipped one.")
    ] = DEFAULT_STUDY,
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with one table a hospital; invented patients if left out."),
    ] = None,
    sites: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Hospitals with invented patients [4].")
    ] = None,
    canaries: Annotated[
        int | None,
        typer.Option(min=100, max=50_000, help="Patients planted to be looked for [5000]."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the result to this file.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Repeat the same rehearsal; a new one if left out.")
    ] = None,
) -> None:
    """Measure the noise of real vaults, and attack them, beside what the study claims.

    Exit code 1 if a meter fails or a lower bound of epsilon is above the claimed one.
    """
    # Imported here, so that `fedward audit --help` does not wait for torch.
    from fedward.audits.empirical.audit import (
        DEFAULT_CANARIES,
        DEFAULT_SITES,
        INVENTED,
        audit_study,
    )
    from fedward.audits.empirical.progress import stage_progress
    from fedward.audits.empirical.tables import print_audit
    from fedward.audits.json_file import write_json
    from fedward.common.study.loading import find_study, load_study
    from fedward.simulations.threads import limit_threads

    path = find_study(study)
    loaded = load_study(path)
    _check(loaded, path, canaries or DEFAULT_CANARIES, data=data, sites=sites)
    cohorts, description = (
        (None, INVENTED) if data is None else _cohorts(loaded, data, study_path=path)
    )
    limit_threads()
    console = Console()
    with stage_progress(console) as on_stage:
        found = audit_study(
            loaded,
            cohorts=cohorts,
            data_description=description,
            sites=sites or DEFAULT_SITES,
            canaries=canaries or DEFAULT_CANARIES,
            seed=seed,
            on_stage=on_stage,
        )
    print_audit(found, console)
    if json is not None:
        write_json(found, json)
        console.print(f"Written: {json}", highlight=False, soft_wrap=True, markup=False)
    if not found.passed:
        raise typer.Exit(1)


def _check(
    study: Study, path: Path, canaries: int, *, data: Path | None, sites: int | None
) -> None:
    if data is not None and sites is not None:
        raise InputError(
            source="--sites",
            field=str(sites),
            problem="goes with invented patients, and --data was given too",
            fix="leave one of them out",
        )
    if len(study.features) + canaries > 100_000:
        raise InputError(
            source=str(path),
            field="features",
            problem=f"are {len(study.features)}, and with a column for each of {canaries} canaries "
            "they would be more than 100000",
            fix="give fewer --canaries",
        )


def _cohorts(study: Study, data: Path, *, study_path: Path) -> tuple[dict[str, Cohort], str]:
    from fedward.simulations.hospitals.folder import folder_hospitals

    hospitals = folder_hospitals(study, data, study_path=study_path)
    return {site.name: site.cohort for site in hospitals.sites}, hospitals.description
