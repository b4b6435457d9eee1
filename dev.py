#!/usr/bin/env python3
"""Sets up fedward in .venv and runs it: ``python3 dev.py demo``, ``python3 dev.py test``.

Needs Python 3.11 or 3.12 and a package index, nothing else; everything goes into ``.venv``, in
the exact versions of constraints.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
CONSTRAINTS = ROOT / "constraints.txt"
ROOMS = ("audits", "certs", "client", "common", "server", "simulations", "studies")


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a command in the project's root; end with its exit code if it fails."""
    completed = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        check=False,
    )
    if completed.returncode:
        sys.exit(completed.returncode)


def set_up(*extras: str) -> None:
    """Install fedward (editable) with these extras, unless that was done for these versions."""
    wanted = f"[{','.join(extras)}]" if extras else ""
    pinned = (ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()
    stamp = VENV / f"installed-{'-'.join(extras) or 'plain'}"
    digest = hashlib.sha256(pinned).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    if not (BIN / "python").exists() and not (BIN / "python.exe").exists():
        print(f"Making {VENV.name}", flush=True)
        venv.create(VENV, with_pip=True)
    print("Installing fedward and what it needs; this takes a minute or two", flush=True)
    run(BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", CONSTRAINTS, "--editable", f".{wanted}")  # fmt: skip
    stamp.write_text(digest)


def demo(arguments: list[str]) -> None:
    """Set up, then simulate the sample study over four hospitals."""
    set_up()
    run(BIN / "fedward", "simulate", *arguments)


def test(arguments: list[str]) -> None:
    """Set up, then lint, check types and run every test."""
    set_up("ray", "dev")
    run(BIN / "ruff", "check", ".")
    run(BIN / "ruff", "format", "--check", ".")
    types()
    # More threads than workers only contend.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    run(BIN / "python", "-m", "pytest", "-n", str(os.cpu_count() or 2), *arguments,
        environment=threads)  # fmt: skip


def types() -> None:
    """Check types of the package under its import name, which the folders do not spell out."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "fedward"
        package.mkdir()
        for room in ROOMS:
            shutil.copytree(ROOT / room, package / room)
        run(BIN / "mypy", "--config-file", ROOT / "pyproject.toml", "--python-executable",
            BIN / "python", "--cache-dir", ROOT / ".mypy_cache", "--package", "fedward",
            environment={"MYPYPATH": folder})  # fmt: skip


def bench(arguments: list[str]) -> None:
    """Set up, then measure and rewrite benchmarks/RESULTS.md."""
    set_up("ray", "dev")
    run(BIN / "python", "benchmarks/run.py", *arguments)


COMMANDS = {"demo": demo, "test": test, "bench": bench}


def main() -> None:
    """Run the named command; further arguments go to what it runs."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        sys.exit("fedward needs Python 3.11 or 3.12; run this file with one of them.")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("command", choices=sorted(COMMANDS))
    chosen, arguments = parser.parse_known_args()
    COMMANDS[chosen.command](arguments)


if __name__ == "__main__":
    main()
