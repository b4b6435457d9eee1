"""The reference of the site file names exactly the keys that there are, and its example loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedward.client.site import site_settings
from fedward.client.site.site_settings import load_site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "site-file.md"
TABLES: dict[str, type[BaseModel]] = {
    "site": site_settings._Site,
    "ledger": site_settings._LedgerFiles,
    "cohorts": site_settings._Cohort,
    "study_caps": site_settings._StudyCaps,
    'study_caps.of."DIGEST"': site_settings._StudyCap,
}


def shown() -> dict[str, str]:
    text = PAGE.read_text("utf-8")
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", text, re.MULTILINE))


def test_the_table_has_every_key_with_its_default() -> None:
    wanted: dict[str, Any] = {}
    for table, model in TABLES.items():
        for name, field in model.model_fields.items():
            if (table, name) != ("study_caps", "of"):
                wanted[f"{table}.{name}"] = "-" if field.is_required() else field.default
    assert list(shown()) == list(wanted)
    for key, default in wanted.items():
        if default is None:
            assert shown()[key] == "no cap", key
        elif default == ():
            assert shown()[key] == "`[]`", key
        else:
            assert shown()[key] in {default, f'`"{default}"`'}, key


def test_the_example_is_a_site_file(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "site.toml"
    path.write_text(example[1], "utf-8")

    settings = load_site(path)

    assert settings.name == "north"
    assert settings.cohorts["whole_hospital"].shares_patients_with == ("cardiology",)
    assert settings.study_cap.epsilon_cap == 1.5
