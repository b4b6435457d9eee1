"""``site.toml``: who this site is, where its ledger lies, and what its patients may spend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fedward.client.vault.cohort_budget import CohortBudget, by_name
from fedward.client.vault.policy import StudyCap
from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError
from fedward.common.privacy.accounting import SMALLEST_DELTA
from fedward.common.protocol.fields import Digest, SiteName
from fedward.common.study.section import Section
from fedward.common.toml_documents import parse_toml, read_toml_text

LEDGER_FILE = "ledger.sqlite"
IDENTITY_FILE = "identity.key"

MOST_CAP = 1_000_000
"""Highest cap that anybody can mean; a guarantee ends long before."""
Cap = Annotated[float, Field(ge=0, le=MOST_CAP, allow_inf_nan=False)]
File = Annotated[str, Field(min_length=1, max_length=4096)]
MAX_COHORTS = 100


class _Site(Section):
    name: SiteName


class _LedgerFiles(Section):
    file: File = LEDGER_FILE
    identity: File = IDENTITY_FILE


class _Cohort(Section):
    name: SiteName
    delta: float = Field(gt=SMALLEST_DELTA, lt=1)
    epsilon_cap: Cap
    epsilon_alone_cap: Cap | None = None
    shares_patients_with: tuple[SiteName, ...] = ()

    def budget(self) -> CohortBudget:
        return CohortBudget(
            name=self.name,
            delta=self.delta,
            epsilon_cap=self.epsilon_cap,
            epsilon_alone_cap=self.epsilon_alone_cap,
            shares_patients_with=self.shares_patients_with,
        )


class _StudyCap(Section):
    epsilon: Cap | None = None
    epsilon_alone: Cap | None = None

    def cap(self) -> StudyCap:
        return StudyCap(epsilon_cap=self.epsilon, epsilon_alone_cap=self.epsilon_alone)


class _StudyCaps(_StudyCap):
    of: dict[Digest, _StudyCap] = Field(default_factory=dict)


class _SiteFile(Section):
    site: _Site
    ledger: _LedgerFiles = _LedgerFiles()
    cohorts: tuple[_Cohort, ...] = Field(min_length=1, max_length=MAX_COHORTS)
    study_caps: _StudyCaps = _StudyCaps()


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """What a ``site.toml`` says; ``source`` is its path.

    ``cohorts`` are budgets by name. ``study_cap`` holds for every study by itself, but for those
    that ``study_caps`` names by digest.
    """

    source: Path
    name: str
    ledger_file: Path
    identity_file: Path
    cohorts: Mapping[str, CohortBudget]
    study_cap: StudyCap = field(default_factory=StudyCap)
    study_caps: Mapping[str, StudyCap] = field(default_factory=dict)


def load_site(path: Path) -> SiteSettings:
    """Read a site file; paths in it are relative to it.

    Raises InputError or InputErrors naming the file, the field and a fix. Neither the ledger nor
    the identity is opened.
    """
    source = str(path)
    written = parse_toml(
        read_toml_text(path, kind="site file (.toml)"), source=source, model=_SiteFile
    )
    try:
        cohorts = by_name(cohort.budget() for cohort in written.cohorts)
    except ValueError as error:
        raise InputError(
            source=source, field="cohorts", problem=f"do not fit ({error})", fix="correct them"
        ) from None
    return SiteSettings(
        source=path,
        name=written.site.name,
        ledger_file=path.parent / written.ledger.file,
        identity_file=path.parent / written.ledger.identity,
        cohorts=cohorts,
        study_cap=written.study_caps.cap(),
        study_caps={digest: caps.cap() for digest, caps in written.study_caps.of.items()},
    )


def write_site_toml(
    path: Path,
    *,
    name: str,
    cohorts: Iterable[CohortBudget],
    ledger_file: str = LEDGER_FILE,
    identity_file: str = IDENTITY_FILE,
    study_cap: StudyCap | None = None,
    study_caps: Mapping[str, StudyCap] | None = None,
) -> None:
    """Write a site file, or replace one; the files that it names are relative to it.

    What is written can be read: every cohort needs an ``epsilon_cap``, or it is a ValueError.
    """
    lines = ["[site]", f"name = {_text(name)}", ""]
    lines += ["[ledger]", f"file = {_text(ledger_file)}", f"identity = {_text(identity_file)}", ""]
    for cohort in cohorts:
        if cohort.epsilon_cap is None:
            raise ValueError(f"cohort {cohort.name} has no cap, which a site file cannot say")
        lines += ["[[cohorts]]", f"name = {_text(cohort.name)}", f"delta = {float(cohort.delta)!r}"]
        caps = {
            "epsilon_cap": cohort.epsilon_cap,
            "epsilon_alone_cap": cohort.epsilon_alone_cap,
        }
        lines += _caps(caps)
        if cohort.shares_patients_with:
            lines.append(f"shares_patients_with = {_text(list(cohort.shares_patients_with))}")
        lines.append("")
    # A table without a cap says something too: it lifts the usual ones for its study.
    tables = {} if study_cap in (None, StudyCap()) else {"study_caps": study_cap}
    tables |= {f'study_caps.of."{digest}"': cap for digest, cap in (study_caps or {}).items()}
    for table, cap in tables.items():
        caps = {"epsilon": cap.epsilon_cap, "epsilon_alone": cap.epsilon_alone_cap}
        lines += [f"[{table}]", *_caps(caps), ""]
    replace_file(path, "\n".join(lines).encode())


def _caps(caps: Mapping[str, float | None]) -> list[str]:
    return [f"{key} = {float(cap)!r}" for key, cap in caps.items() if cap is not None]


def _text(value: str | list[str]) -> str:
    # JSON's strings and arrays of them are TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
