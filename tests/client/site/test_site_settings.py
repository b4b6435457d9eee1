from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.client.site.site_settings import load_site, write_site_toml
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.policy import StudyCap
from fedward.common.errors import FedwardError

DIGEST = "ab" * 32
FULL = f"""
[site]
name = "north"

[ledger]
file = "books/ledger.sqlite"
identity = "/etc/fedward/identity.key"

[[cohorts]]
name = "cardiology"
delta = 1e-5
epsilon_cap = 3
epsilon_alone_cap = 12.5

[[cohorts]]
name = "hospital"
delta = 1e-6
epsilon_cap = 5.0
shares_patients_with = ["cardiology"]

[study_caps]
epsilon = 1.0
epsilon_alone = 4.0

[study_caps.of."{DIGEST}"]
epsilon = 2.0
"""
SHORT = """
[site]
name = "north"
[[cohorts]]
name = "patients"
delta = 1e-5
epsilon_cap = 3.0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, "utf-8")
    return path


def test_everything_that_a_site_can_say(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)

    settings = load_site(path)

    assert (settings.source, settings.name) == (path, "north")
    assert settings.ledger_file == tmp_path / "books" / "ledger.sqlite"
    assert settings.identity_file == Path("/etc/fedward/identity.key")
    assert settings.cohorts == {
        "cardiology": CohortBudget(
            name="cardiology", delta=1e-5, epsilon_cap=3.0, epsilon_alone_cap=12.5
        ),
        "hospital": CohortBudget(
            name="hospital", delta=1e-6, epsilon_cap=5.0, shares_patients_with=("cardiology",)
        ),
    }
    assert settings.study_cap == StudyCap(epsilon_cap=1.0, epsilon_alone_cap=4.0)
    assert settings.study_caps == {DIGEST: StudyCap(epsilon_cap=2.0)}


def test_what_need_not_be_said(tmp_path: Path) -> None:
    settings = load_site(written(tmp_path, SHORT))

    assert settings.ledger_file == tmp_path / "ledger.sqlite"
    assert settings.identity_file == tmp_path / "identity.key"
    assert (settings.study_cap, settings.study_caps) == (StudyCap(), {})


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        ('name = "north"', 'name = "n/o"', "site.name"),
        ("delta = 1e-5", "delta = 1e-12", "delta is 1e-12, but must be above 5e-11"),
        ("delta = 1e-5", "delta = 1.0", "delta is 1.0, but must be below 1"),
        ("delta = 1e-5", "", "delta is missing"),
        ("epsilon_cap = 3.0", "", "epsilon_cap is missing"),
        ("epsilon_cap = 3.0", "epsilon_cap = nan", "epsilon_cap"),
        ("epsilon_cap = 3.0", "epsilon_cap = 1e7", "is 10000000.0, but must be at most 1e+06"),
        ("epsilon_cap = 3.0", "epsilon_cap = -1.0", "epsilon_cap is -1.0, but must be at least 0"),
        ("epsilon_cap = 3.0", "epsilon_cap = 3.0\nepsilon = 1.0", "epsilon is not a known key"),
        (
            "epsilon_cap = 3.0",
            'epsilon_cap = 3.0\nshares_patients_with = ["others"]',
            "cohorts do not fit (cohort patients shares patients with the unknown others)",
        ),
        ("[[cohorts]]", "[study_caps.of.x]\nepsilon = 1.0\n[[cohorts]]", "study_caps.of"),
    ],
)
def test_a_mistake_is_told_by_file_and_field(
    tmp_path: Path, wrong: str, right: str, sentence: str
) -> None:
    assert wrong in SHORT
    path = written(tmp_path, SHORT.replace(wrong, right))

    with pytest.raises(FedwardError) as caught:
        load_site(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[site]\nname = "north"\n', "cohorts is missing"),
        ('cohorts = []\n[site]\nname = "north"\n', "cohorts has 0 entries"),
        (SHORT + SHORT.partition('name = "north"')[2], "cohort patients is declared twice"),
        (
            SHORT + 'shares_patients_with = ["patients"]\n',
            "cohort patients cannot share patients with itself",
        ),
    ],
)
def test_cohorts_that_do_not_fit_together(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(FedwardError, match=sentence):
        load_site(written(tmp_path, text))


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
CAPS = st.floats(0, 1e6)
FILES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40
).filter(lambda name: name == name.strip())


@given(
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    delta=st.floats(1e-10, 0.1),
    caps=st.tuples(CAPS, CAPS | st.none()),
    ledger_file=FILES,
    study_cap=st.builds(StudyCap, epsilon_cap=CAPS | st.none(), epsilon_alone_cap=CAPS | st.none()),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    delta: float,
    caps: tuple[float, float | None],
    ledger_file: str,
    study_cap: StudyCap,
) -> None:
    path = tmp_path_factory.mktemp("site") / "site.toml"
    cohorts = [
        CohortBudget(
            name=name,
            delta=delta,
            epsilon_cap=caps[0],
            epsilon_alone_cap=caps[1],
            shares_patients_with=tuple(names[:number]),
        )
        for number, name in enumerate(names)
    ]

    write_site_toml(
        path,
        name="north",
        cohorts=cohorts,
        ledger_file=ledger_file,
        study_cap=study_cap,
        study_caps={DIGEST: StudyCap(epsilon_cap=1.5)},
    )
    settings = load_site(path)

    assert list(settings.cohorts.values()) == cohorts
    assert settings.ledger_file == path.parent / ledger_file
    assert settings.study_cap == study_cap
    assert settings.study_caps == {DIGEST: StudyCap(epsilon_cap=1.5)}


def test_a_cohort_without_a_cap_is_not_written(tmp_path: Path) -> None:
    endless = CohortBudget(name="patients", delta=1e-5, epsilon_cap=None)

    with pytest.raises(ValueError, match="no cap"):
        write_site_toml(tmp_path / "site.toml", name="north", cohorts=[endless])
    assert not (tmp_path / "site.toml").exists()
