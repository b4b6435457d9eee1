"""What is installed: every room and every data file, from a wheel and editable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("audits", "certs", "client", "common", "server", "simulations", "studies")


def _shipped(folder: Path) -> set[str]:
    kinds = {".py", ".toml", ".html", ".css"}
    return {
        f"{room}/{path.relative_to(folder / room).as_posix()}"
        for room in ROOMS
        for path in (folder / room).rglob("*")
        if path.suffix in kinds and "__pycache__" not in path.parts
    }


def _run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    completed = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fedward installed from its wheel, as a user's site-packages would hold it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", *ROOMS):
        origin = ROOT / name
        if origin.is_dir():
            _run("cp", "-r", origin, source / name, cwd=folder)
        else:
            (source / name).write_bytes(origin.read_bytes())
    _run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source,
        cwd=folder,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    target = folder / "site-packages"
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
        "--target", target, wheel,
        cwd=folder,
    )  # fmt: skip
    return target


def test_a_wheel_holds_every_file_of_every_room(installed: Path) -> None:
    assert _shipped(installed / "fedward") == _shipped(ROOT)


def test_a_wheel_install_is_what_runs(installed: Path, tmp_path: Path) -> None:
    code = (
        "import fedward.client.vault.vault as vault, fedward.studies as studies;"
        "print(vault.__file__); print(studies.__file__)"
    )
    printed = _run(sys.executable, "-c", code, cwd=tmp_path, path=installed)
    assert all(line.startswith(str(installed)) for line in printed.splitlines())
    checked = _run(
        sys.executable, installed / "bin" / "fedward", "study", "check", "breast_cancer",
        cwd=tmp_path, path=installed,
    )  # fmt: skip
    assert "valid" in checked


def test_the_project_itself_is_installed_editable(tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import distribution; import fedward.common.errors as errors;"
        "print(distribution('fedward').read_text('direct_url.json')); print(errors.__file__)"
    )
    origin, file = _run(sys.executable, "-c", code, cwd=tmp_path).splitlines()
    assert json.loads(origin)["dir_info"] == {"editable": True}
    assert Path(file) == ROOT / "common" / "errors.py"


def test_nothing_of_ours_takes_a_common_name(installed: Path) -> None:
    ours = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert ours == {"fedward", "bin"}
