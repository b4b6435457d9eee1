from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from fedward.common.command_line import run
from fedward.common.ledger.entries import BudgetRaised
from fedward.common.ledger.export import read_export

from .conftest import CARDIOLOGY, HOSPITAL, SiteOnDisk


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def fedward(
    capsys: pytest.CaptureFixture[str], site: SiteOnDisk
) -> Callable[..., tuple[int, str, str]]:
    """Run ``fedward site``: exit code, output with single spaces, and errors."""

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(["site", *arguments, "--site", str(site.toml)])
        captured = capsys.readouterr()
        return code, " ".join(captured.out.split()), captured.err

    return called


Fedward = Callable[..., tuple[int, str, str]]


def test_budget_is_a_table_for_each_cohort(fedward: Fedward) -> None:
    code, out, _ = fedward("budget")

    assert code == 0
    for part in (
        "Cohort cardiology, at delta 1e-05; shares patients with hospital",
        "Cohort hospital, at delta 1e-05; shares patients with cardiology",
        "│ epsilon │ 2.0000 │",
        "│ epsilon, if all other sites collude │ no cap │",
        "│ strokes │ aaaaaaaa │ 3 │ 1e-06 │",
        "│ sepsis │ bbbbbbbb │ 3 │ 1e-05 │",
        "│ 1 open │",
        "2026-03-01 08:",
        "entries, all of them verified",
        "One reservation was never committed",
    ):
        assert part in out, part


def test_budget_as_json_is_the_same(fedward: Fedward) -> None:
    code, out, _ = fedward("budget", "--json")

    assert code == 0
    statement = json.loads(out)
    assert [cohort["cohort"] for cohort in statement["cohorts"]] == ["cardiology", "hospital"]
    assert statement["cohorts"][0]["caps"] == {"epsilon": 2.0, "epsilon_alone": 8.0}
    assert statement["cohorts"][0]["studies"][1]["not_committed"] == 1


def test_budget_says_where_the_settings_differ_from_the_ledger(
    fedward: Fedward, site: SiteOnDisk
) -> None:
    new = replace(HOSPITAL, name="oncology", shares_patients_with=())
    site.write(replace(CARDIOLOGY, epsilon_cap=9.0, epsilon_alone_cap=1.0), HOSPITAL, new)

    _, out, _ = fedward("budget")

    assert "higher epsilon_cap for cohort cardiology" in out
    assert "lower epsilon_alone_cap for cohort cardiology" in out
    assert "Cohort oncology is in site.toml alone" in out
    assert "cohort hospital than" not in out


def test_looking_at_a_budget_does_not_load_what_it_does_not_need(site: SiteOnDisk) -> None:
    script = (
        "import sys; from fedward.common.command_line import run;"
        f"code = run(['site', 'budget', '--site', {str(site.toml)!r}]);"
        "print([name for name in ('torch', 'flwr', 'ray', 'pandas') if name in sys.modules], code)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.splitlines()[-1] == "[] 0"


def test_an_export_is_the_whole_ledger_under_a_head(fedward: Fedward, site: SiteOnDisk) -> None:
    file = site.folder / "north.jsonl"

    code, _, err = fedward("ledger", "export", "--output", str(file))

    assert code == 0
    entries, head = read_export(file)
    assert f"{len(entries)} entries" in " ".join(err.split())
    assert (head.site, head.digest) == ("north", entries[-1].digest)
    assert head.is_signed_by(site.identity.public_key)
    ledger = site.opened()
    assert ledger.holds(head)
    ledger.close()


def test_an_export_to_the_terminal_is_the_same(
    site: SiteOnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    # While a vault has the ledger, as it may well.
    ledger = site.opened()
    assert run(["site", "ledger", "export", "--site", str(site.toml)]) == 0
    file = site.folder / "copy.jsonl"
    file.write_text(capsys.readouterr().out)

    entries, head = read_export(file)

    assert head == ledger.head()
    assert len(entries) == head.sequence + 1
    ledger.close()


def test_an_export_is_the_hospitals_own_until_it_gives_it_away(
    fedward: Fedward, site: SiteOnDisk
) -> None:
    file = site.folder / "north.jsonl"
    file.touch(mode=0o644)

    assert fedward("ledger", "export", "--output", str(file))[0] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_is_exported_that_does_not_hold(fedward: Fedward, site: SiteOnDisk) -> None:
    file = site.folder / "north.jsonl"
    with closing(sqlite3.connect(site.ledger_file)) as connection, connection:
        connection.execute(
            "UPDATE entries SET body = replace(body, '\"epsilon_cap\":2.0', '\"epsilon_cap\":9.0')"
        )

    code, out, err = fedward("ledger", "export", "--output", str(file))

    assert (code, out, file.exists()) == (2, "", False)
    assert "entry 1 is not signed by this site" in err


def test_the_ledger_of_another_site_is_not_exported(fedward: Fedward, site: SiteOnDisk) -> None:
    site.toml.write_text(site.toml.read_text().replace('"north"', '"south"'))

    code, out, err = fedward("ledger", "export")

    assert (code, out) == (2, "")
    assert "is the ledger of north, not of south" in err


@pytest.mark.parametrize(
    "name", [f"ledger.sqlite{end}" for end in ("-wal", "-shm", "-journal", ".lock")]
)
@pytest.mark.parametrize("running", [True, False])
def test_an_export_replaces_nothing_that_lies_beside_the_ledger(
    fedward: Fedward, site: SiteOnDisk, name: str, running: bool
) -> None:
    # Whether or not it is there just now.
    (site.folder / "link").symlink_to(site.folder, target_is_directory=True)
    ledger = site.opened()
    if not running:
        ledger.close()
    file = site.folder / name
    before = file.read_bytes() if file.exists() else None

    for output in (file, site.folder / "link" / name):
        code, _, err = fedward("ledger", "export", "--output", str(output))
        assert code == 2
        assert "belongs to the site itself" in err
        assert (file.read_bytes() if file.exists() else None) == before
    if running:
        assert ledger.budgets()
        ledger.close()


def test_an_export_is_not_prepared_in_a_file_of_the_site(
    fedward: Fedward, site: SiteOnDisk
) -> None:
    key = site.folder / "identity.new"
    (site.folder / "identity.key").rename(key)
    site.toml.write_text(site.toml.read_text().replace("identity.key", "identity.new"))
    before = key.read_bytes()

    code, _, err = fedward("ledger", "export", "--output", str(site.folder / "identity"))

    assert (code, key.read_bytes()) == (2, before)
    assert "belongs to the site itself" in err


@pytest.mark.parametrize("output", [".", "..", "/", ""])
def test_an_export_to_a_folder_is_refused_in_a_sentence(
    fedward: Fedward, site: SiteOnDisk, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(site.folder)

    code, out, err = fedward("ledger", "export", "--output", output)

    assert (code, out) == (2, "")
    assert "is a folder; give the --output the name of a file" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["ledger.sqlite", "identity.key", "site.toml"])
def test_an_export_replaces_no_file_of_the_site(
    fedward: Fedward, site: SiteOnDisk, name: str
) -> None:
    before = (site.folder / name).read_bytes()

    code, _, err = fedward("ledger", "export", "--output", str(site.folder / name))

    assert code == 2
    assert "belongs to the site itself" in err
    assert (site.folder / name).read_bytes() == before


def test_a_budget_is_raised_by_a_signed_entry_with_a_reason(
    fedward: Fedward, site: SiteOnDisk
) -> None:
    code, out, _ = fedward(
        "raise-budget", "cardiology", "--epsilon", "4", "--reason", " a second study "
    )

    assert code == 0
    assert "Cohort cardiology has a cap of 4 on epsilon." in out
    assert "has a cap of 8 on epsilon, if all other sites collude." in out
    assert "Put this into site.toml" in out
    file = site.folder / "north.jsonl"
    fedward("ledger", "export", "--output", str(file))
    last = read_export(file)[0][-1]
    assert isinstance(last.entry, BudgetRaised)
    assert last.is_signed_by(site.identity.public_key)
    assert (last.entry.reason, last.entry.epsilon_cap) == ("a second study", 4.0)


def test_the_settings_may_say_the_new_cap_beforehand(fedward: Fedward, site: SiteOnDisk) -> None:
    site.write(replace(CARDIOLOGY, epsilon_cap=4.0), HOSPITAL)

    code, out, _ = fedward("raise-budget", "cardiology", "--epsilon", "4", "--reason", "agreed")

    assert (code, "site.toml" in out) == (0, False)
    site.opened(replace(CARDIOLOGY, epsilon_cap=4.0), HOSPITAL).close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("cardiology", "--epsilon", "1", "--reason", "r"), "would be lowered"),
        (("cardiology", "--epsilon", "2", "--reason", "r"), "has these caps already"),
        (("cardiology", "--epsilon", "nan", "--reason", "r"), "is not a finite number"),
        (("cardiology", "--epsilon", "inf", "--reason", "r"), "is not a finite number"),
        (("cardiology", "--epsilon", "1e308", "--reason", "r"), "is above 1,000,000"),
        (("cardiology", "--epsilon", "4", "--reason", "x\udcff"), "--reason is not UTF-8 text"),
        (("card\udcff", "--epsilon", "4", "--reason", "r"), "has no budget in this ledger"),
        (("cardiology", "--epsilon", "4", "--reason", "  "), "--reason must have 1 to 1000"),
        (("cardiology", "--epsilon", "4", "--reason", "x" * 1001), "--reason must have 1 to 1000"),
        (("cardiology", "--reason", "r"), "--epsilon is missing, and so is --epsilon-alone"),
        (("oncology", "--epsilon", "4", "--reason", "r"), "cohort oncology has no budget"),
    ],
)
def test_what_raises_nothing_is_refused_in_a_sentence(
    fedward: Fedward, site: SiteOnDisk, arguments: tuple[str, ...], sentence: str
) -> None:
    ledger = site.opened()
    before = ledger.head()
    ledger.close()

    code, _, err = fedward("raise-budget", *arguments)

    assert (code, sentence in err) == (2, True), err
    ledger = site.opened()
    assert ledger.head() == before
    ledger.close()


def test_no_ledger_is_made_to_raise_a_budget(
    new_site: Callable[[], SiteOnDisk], capsys: pytest.CaptureFixture[str]
) -> None:
    site = new_site()
    site.ledger_file.touch(mode=0o600)

    arguments = ["site", "raise-budget", "cardiology", "--epsilon", "4", "--reason", "r"]
    assert run([*arguments, "--site", str(site.toml)]) == 2
    assert "is no ledger" in capsys.readouterr().err
    assert site.ledger_file.stat().st_size == 0
    assert not (site.folder / "ledger.sqlite.lock").exists()


def test_a_folder_in_place_of_the_ledger_stays_as_it_is(
    new_site: Callable[[], SiteOnDisk], capsys: pytest.CaptureFixture[str]
) -> None:
    site = new_site()
    site.ledger_file.mkdir(mode=0o755)

    arguments = ["site", "raise-budget", "cardiology", "--epsilon", "4", "--reason", "r"]
    assert run([*arguments, "--site", str(site.toml)]) == 2
    assert "is no file" in capsys.readouterr().err
    assert stat.S_IMODE(site.ledger_file.stat().st_mode) == 0o755
    assert not (site.folder / "ledger.sqlite.lock").exists()


def test_a_cap_of_any_size_leaves_a_table(
    new_site: Callable[[], SiteOnDisk], capsys: pytest.CaptureFixture[str]
) -> None:
    site = new_site()
    site.opened(replace(CARDIOLOGY, epsilon_cap=1e308, epsilon_alone_cap=1e6)).close()

    assert run(["site", "budget", "--site", str(site.toml)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "│ epsilon │ 1e+308 │ 0.0000 │ 0.0000 │ 1e+308 │ 0% │" in out
    assert "│ 1000000.0000 │ 0.0000 │" in out


def test_no_budget_is_raised_under_a_running_vault(fedward: Fedward, site: SiteOnDisk) -> None:
    ledger = site.opened()
    try:
        code, _, err = fedward("raise-budget", "cardiology", "--epsilon", "4", "--reason", "r")
    finally:
        ledger.close()

    assert code == 2
    assert "is the ledger of a vault that still runs" in err


def test_without_a_ledger_there_is_one_sentence(
    new_site: Callable[[], SiteOnDisk], capsys: pytest.CaptureFixture[str]
) -> None:
    toml = str(new_site().toml)
    for arguments in (
        ["budget"],
        ["ledger", "export"],
        ["raise-budget", "cardiology", "--epsilon", "4", "--reason", "r"],
    ):
        assert run(["site", *arguments, "--site", toml]) == 2
        err = capsys.readouterr().err
        assert "ledger.sqlite" in err
        assert "is not there" in err
        assert err.count("\n") == 1
    assert not (new_site().ledger_file).exists()


def test_a_key_that_others_can_read_is_not_used(fedward: Fedward, site: SiteOnDisk) -> None:
    (site.folder / "identity.key").chmod(0o644)

    for arguments in (
        ("budget",),
        ("ledger", "export"),
        ("raise-budget", "cardiology", "--epsilon", "4", "--reason", "r"),
    ):
        code, out, err = fedward(*arguments)
        assert (code, out) == (2, "")
        assert "identity.key: may be used by others" in err
