"""The machine and the libraries in words, for the record of a measurement."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "fedward",
    "flwr",
    "ray",
    "torch",
    "opacus",
    "cryptography",
    "dp-accounting",
    "numpy",
    "scipy",
    "scikit-learn",
)


def machine() -> str:
    """Cores, processor, memory, system and how busy it is now; no path and no host name."""
    memory = _memory_gib()
    parts = [f"{os.cpu_count()} cores", _processor()]
    parts += [f"{memory:.0f} GiB memory"] if memory else []
    parts.append(platform.system())
    return ", ".join(parts) + f"; load average {os.getloadavg()[0]:.1f} at the start"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that are installed."""
    found = {"Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    first = path.read_text(encoding="utf-8").split(maxsplit=2)
    return int(first[1]) / 2**20
