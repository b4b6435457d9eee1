from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, version

import click
import pytest
import typer

from fedward.common.command_line import installed_rooms, run
from fedward.common.errors import InputError, InputErrors, PrivacyRefusal

app = typer.Typer()
grouped = typer.Typer()


@grouped.callback()
def group_callback() -> None:
    """A group of one."""


@app.command()
def only(file: str = "", fail: str = "", times: int = 1) -> None:
    """Do the only thing."""
    problem = InputError(source="a.toml", field="x", problem="is bad", fix="mend it")
    match fail:
        case "input":
            raise problem
        case "inputs":
            raise InputErrors([problem, problem])
        case "privacy":
            raise PrivacyRefusal("Too little noise; add some.")
        case "interrupt":
            raise KeyboardInterrupt
        case "exit":
            raise typer.Exit(code=7)
        case "bug":
            raise RuntimeError("ours")
        case "control":
            raise PrivacyRefusal("name \x1b[31mred\x07")
    print("ran", file, times)


@grouped.command("verify")
def verify() -> None:
    print("verified")


def plain(word: str) -> None:
    """A plain function."""
    print("plain", word)


@click.command()
def clicked() -> None:
    print("clicked")


def rooms(**extra: str) -> dict[str, EntryPoint]:
    values = {
        "simulate": f"{__name__}:app",
        "audit": f"{__name__}:grouped",
        "plain": f"{__name__}:plain",
        "clicked": f"{__name__}:clicked",
        **extra,
    }
    return {name: EntryPoint(name, value, "fedward.commands") for name, value in values.items()}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[only.__module__])


def test_an_app_of_one_command_is_that_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--file", "f", "--times", "3"], rooms=rooms()) == 0
    assert capsys.readouterr().out == "ran f 3\n"


def test_an_app_with_a_callback_stays_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify"], rooms=rooms()) == 0
    assert capsys.readouterr().out == "verified\n"


def test_functions_and_click_commands_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plain", "hello"], rooms=rooms()) == 0
    assert run(["clicked"], rooms=rooms()) == 0
    assert capsys.readouterr().out == "plain hello\nclicked\n"


@pytest.mark.parametrize(
    ("fail", "code", "err"),
    [
        ("input", 2, "error: a.toml: x is bad; mend it.\n"),
        ("inputs", 2, "error: a.toml: x is bad; mend it.\n" * 2),
        ("privacy", 2, "error: Too little noise; add some.\n"),
        ("exit", 7, ""),
        ("control", 2, "error: name ?[31mred?\n"),
    ],
)
def test_errors_become_lines_and_codes(
    fail: str, code: int, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "--fail", fail], rooms=rooms()) == code
    assert capsys.readouterr() == ("", err)


def test_interruption_is_130_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--fail", "interrupt"], rooms=rooms()) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_a_fault_of_ours_propagates() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        run(["simulate", "--fail", "bug"], rooms=rooms())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nonsense"], "error: No such command 'nonsense'."),
        (["simulate", "--tims", "3"], "error: No such option"),
        (["simulate", "--times", "many"], "'many' is not a valid integer"),
        (["plain"], "error: Missing argument 'WORD'."),
        (["audit", "verfy"], "error: No such command 'verfy'."),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, rooms=rooms()) == 2
    captured = capsys.readouterr()
    assert part in captured.err
    assert "--help'." in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("Did you mean") <= 1


def test_help_lists_all_and_survives_one_that_cannot_be_imported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = rooms(broken="fedward.no_such_module:app")
    assert run(["--help"], rooms=broken) == 0
    out = capsys.readouterr().out
    assert "Do the only thing." in out
    assert "A plain function." in out
    assert "(cannot be loaded: No module named 'fedward.no_such_module')" in " ".join(out.split())
    with pytest.raises(ModuleNotFoundError):
        run(["broken"], rooms=broken)


def test_a_subcommand_does_not_import_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["clicked"], rooms=rooms(broken="fedward.no_such_module:app")) == 0


def test_no_arguments_show_help_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([], rooms=rooms()) == 2
    captured = capsys.readouterr()
    assert "Usage: fedward" in captured.out + captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], rooms={}) == 0
    assert version("fedward") in capsys.readouterr().out


def test_the_study_room_is_installed() -> None:
    assert "study" in installed_rooms()


def test_checking_a_study_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fedward.common.command_line import run;"
        "assert run(['study', 'check', 'breast_cancer']) == 0;"
        "heavy = {'torch', 'flwr', 'ray', 'pandas', 'sklearn', 'opacus'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_script_prints_one_line_to_stderr_and_exits_with_2() -> None:
    code = "from fedward.common.command_line import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "study", "check", "absent.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: absent.toml: there is no such file; ")
    assert done.stderr.count("\n") == 1
