"""Where each site's records lie and how they are written: ``sites.toml``.

In a simulation one file describes all sites. :class:`SiteMapping` is the part of one site and
stands by itself, as a hospital will describe its own file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedward.client.cohort import Cohort
from fedward.client.sources.encoding import encode_table
from fedward.client.sources.tables import TableFormat, read_table
from fedward.common.errors import InputError
from fedward.common.study.definition import Study
from fedward.common.toml_documents import parse_toml, raise_all, read_toml_text
from fedward.common.validation_messages import suggestion

SITE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""What a site may be called; such a name is also safe as the name of a folder."""


class FileMapping(TableFormat):
    """How a file is written, and which of its columns are the study's."""

    patient: str | None = None
    """Column that tells patients apart; None: each record is a patient of its own."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Feature or target of the study = column of the file; the others have the same name."""

    def over(self, defaults: FileMapping) -> FileMapping:
        """These settings, and the defaults where nothing was set; ``rename`` is merged by name."""
        fields = set(FileMapping.model_fields)
        merged = defaults.model_dump(exclude_unset=True, include=fields)
        merged |= self.model_dump(exclude_unset=True, include=fields)
        merged["rename"] = defaults.rename | self.rename
        return FileMapping.model_validate(merged)


class SiteMapping(FileMapping):
    """One site: its name, its file, and what differs from the defaults."""

    name: str = Field(pattern=SITE_NAME)
    file: str = Field(min_length=1)


class SitesMapping(BaseModel):
    """The whole of ``sites.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    defaults: FileMapping = FileMapping()
    sites: tuple[SiteMapping, ...] = Field(min_length=1, max_length=100_000)

    @model_validator(mode="after")
    def _sites_differ(self) -> Self:
        for field in ("name", "file"):
            values = [getattr(site, field) for site in self.sites]
            repeated = next((value for value in values if values.count(value) > 1), None)
            if repeated is not None:
                raise ValueError(f"sites have the {field} {repeated!r} twice; change one of them")
        return self

    def resolved(self) -> tuple[tuple[SiteMapping, FileMapping], ...]:
        """Each site with its settings, defaults filled in."""
        return tuple((site, site.over(self.defaults)) for site in self.sites)


def load_sites_mapping(path: Path, study: Study) -> SitesMapping:
    """Read ``sites.toml`` for a study; InputError or InputErrors name file, field and fix."""
    text = read_toml_text(path, kind="site mapping (.toml)")
    mapping = parse_toml(text, source=str(path), model=SitesMapping)
    problems = list(_unknown_names(mapping, study, str(path)))
    if problems:
        raise_all(problems)
    return mapping


def load_cohort(study: Study, path: Path, mapping: FileMapping) -> Cohort:
    """One site's records as a cohort of the study; raises what reading and encoding raise."""
    names = [feature.name for feature in study.features] + [study.target.name]
    wanted = [mapping.rename.get(name, name) for name in names]
    wanted += [] if mapping.patient is None else [mapping.patient]
    table = read_table(path, mapping, wanted=wanted)
    return encode_table(
        study,
        table,
        source=str(path),
        patient_column=mapping.patient,
        rename=mapping.rename,
    )


def _unknown_names(mapping: SitesMapping, study: Study, source: str) -> Iterator[InputError]:
    known = [*(feature.name for feature in study.features), study.target.name]
    tables = {"defaults": mapping.defaults.rename}
    tables |= {f"sites[{index}]": site.rename for index, site in enumerate(mapping.sites)}
    for place, rename in tables.items():
        for name in rename:
            if name not in known:
                yield InputError(
                    source=source,
                    field=f"{place}.rename.{name}",
                    problem=f"is not a feature or the target of study {study.about.name!r}",
                    fix=suggestion(name, known),
                )
