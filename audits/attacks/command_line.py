"""``fedward audit attack``: would known attacks have worked on what a study releases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedward.common.errors import InputError

if TYPE_CHECKING:
    from fedward.common.study.definition import Study
    from fedward.simulations.hospitals.hospital import Hospitals

DEFAULT_STUDY = "breast_cancer"
DEFAULT_SITES = 4
PARTITION_SEED = 0


def attack(
    study: Annotated[
        str, typer.Argument(help="A study file, or the name of a shipped one.")
    ] = DEFAULT_STUDY,
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with one table a hospital; the built-in data if left out."),
    ] = None,
    sites: Annotated[
        int | None, typer.Option(help="Hospitals to make from the built-in data [4].")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the result to this file.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Also draw records and what was made of them in a folder.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Make the attacks repeatable, their noise too.")
    ] = None,
) -> None:
    """Attack real vaults: what a raw, a clipped and a masked sum give away, and a noised one.

    What is written holds records that the attacks were tried on: keep it as you keep those.
    """
    # Imported here, so that `fedward audit --help` does not wait for torch.
    from fedward.audits.attacks.audit import audit_attacks
    from fedward.audits.attacks.table import print_attacks
    from fedward.audits.json_file import write_json
    from fedward.common.study.loading import find_study, load_study
    from fedward.simulations.threads import limit_threads

    path = find_study(study)
    loaded = load_study(path)
    hospitals = _hospitals(loaded, path, data, sites)
    limit_threads()
    console = Console()
    with console.status("Calibrating the noise") as status:
        found = audit_attacks(loaded, hospitals, seed=seed, on_step=status.update)
    print_attacks(found, console)
    if json is not None:
        write_json(found, json)
        console.print(f"Written: {json}", highlight=False, soft_wrap=True, markup=False)
    if pictures is not None:
        from fedward.audits.attacks.side_by_side import write_pictures

        count = len(write_pictures(found, pictures))
        console.print(
            f"Drawn: {count} files in {pictures}", highlight=False, soft_wrap=True, markup=False
        )


def _hospitals(study: Study, path: Path, data: Path | None, sites: int | None) -> Hospitals:
    from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals
    from fedward.simulations.hospitals.folder import folder_hospitals

    if data is None:
        count = DEFAULT_SITES if sites is None else sites
        return breast_cancer_hospitals(study, sites=count, seed=PARTITION_SEED)
    if sites is not None:
        raise InputError(
            source="--sites",
            field=str(sites),
            problem="goes with the built-in data, and --data was given too",
            fix="leave one of them out",
        )
    return folder_hospitals(study, data, study_path=path)
