"""Hospitals from a folder of files: one file a site, by a mapping or by the files' own headers."""

from __future__ import annotations

import re
from pathlib import Path

from fedward.client.sources.mapping import (
    SITE_NAME,
    FileMapping,
    load_cohort,
    load_sites_mapping,
)
from fedward.client.sources.tables import column_names
from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.simulations.hospitals.hospital import Hospital, Hospitals, check_site_count

MAPPING_NAME = "sites.toml"
PATIENT_COLUMN = "patient_id"


def folder_hospitals(
    study: Study,
    folder: Path,
    *,
    mapping_path: Path | None = None,
    study_path: Path | None = None,
) -> Hospitals:
    """Read every site of ``folder``; a mapping tells files and columns.

    The mapping is ``mapping_path``, else ``sites.toml`` in the folder, else
    ``<study>.sites.toml`` beside ``study_path``. Without any, each ``*.csv`` in the folder is a
    site of that name with the study's own column names; a column ``patient_id`` tells patients
    apart. Sites are in the mapping's order, or sorted by name.

    Raises InputError(s) for a mapping or file that cannot be used and for fewer than two sites.
    Patients are told apart within a site alone: one who was seen at two sites is two patients.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "there is no such folder"
        raise InputError(
            source=str(folder), field="", problem=problem, fix="give the folder of the sites' files"
        )
    mapping_path = mapping_path or _mapping_beside(folder, study_path)
    sites = _files(folder) if mapping_path is None else _mapped(study, folder, mapping_path)
    if mapping_path is None:
        check_site_count(len(sites), source=str(folder), field="the folder")
    else:
        check_site_count(len(sites), source=str(mapping_path), field="sites")
    hospitals = tuple(
        Hospital(name, load_cohort(study, path, mapping)) for name, path, mapping in sites
    )
    names = ", ".join(
        f"{hospital.name} ({hospital.cohort.patient_count})" for hospital in hospitals[:12]
    )
    more = f" and {len(hospitals) - 12} more" if len(hospitals) > 12 else ""
    return Hospitals(
        sites=hospitals,
        description=f"Records in {folder.name}, with patients after rows with missing values are "
        f"dropped where the study says so: {names}{more}.",
    )


Site = tuple[str, Path, FileMapping]


def _mapping_beside(folder: Path, study_path: Path | None) -> Path | None:
    candidates = [folder / MAPPING_NAME]
    if study_path is not None:
        candidates.append(study_path.with_name(f"{study_path.stem}.{MAPPING_NAME}"))
    return next((path for path in candidates if path.exists()), None)


def _mapped(study: Study, folder: Path, mapping_path: Path) -> list[Site]:
    mapping = load_sites_mapping(mapping_path, study)
    return [(site.name, folder / site.file, settings) for site, settings in mapping.resolved()]


def _files(folder: Path) -> list[Site]:
    sites: list[Site] = []
    for path in sorted(folder.glob("*.csv")):
        if not re.fullmatch(SITE_NAME, path.stem):
            raise InputError(
                source=str(path),
                field="",
                problem="has a name that cannot name a site (letters, digits, '_', '.', '-')",
                fix=f"rename it, or list it in {folder / MAPPING_NAME}",
            )
        patient = PATIENT_COLUMN if PATIENT_COLUMN in column_names(path) else None
        sites.append((path.stem, path, FileMapping(patient=patient)))
    if not sites:
        raise InputError(
            source=str(folder),
            field="",
            problem=f"holds neither {MAPPING_NAME} nor any *.csv file",
            fix="put one CSV file a site into it, or describe its files in a mapping",
        )
    return sites
