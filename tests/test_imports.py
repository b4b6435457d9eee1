"""Imports run one way, heavy libraries stay where they belong, and nothing is pickled."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("audits", "certs", "client", "common", "server", "simulations")
MAY_IMPORT = {
    "common": {"common"},
    "client": {"client", "common"},
    "server": {"server", "common"},
    "certs": {"certs", "common"},
    "simulations": {"simulations", "client", "server", "common"},
    "audits": {"audits", "simulations", "client", "server", "common"},
}
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, at its top or within a function."""
    package = ["fedward", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    assert all(modules(room) for room in ROOMS)
    assert "fedward.common.errors" in set(imports_of(ROOT / "client" / "vault" / "vault.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    wrong = [
        f"{named(path)} imports {module}"
        for path in modules(room)
        for module in imports_of(path)
        if module.startswith("fedward.") and module.split(".")[1] not in MAY_IMPORT[room]
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("folder", "libraries"),
    [
        ("client/vault", {"flwr", "ray"}),
        ("client/sources", {"flwr", "ray"}),
        ("client/courier", {"torch", "opacus", "numpy", "pandas"}),
        ("common/protocol", {"flwr", "torch"}),
        ("common/secure_sum", {"flwr", "ray", "torch", "socket", "ssl", "http", "urllib"}),
        ("server", {"torch", "opacus", "ray", "pandas"}),
    ],
)
def test_a_part_does_not_name_a_library_that_it_must_not_use(
    folder: str, libraries: set[str]
) -> None:
    wrong = [
        f"{named(path)} imports {module}"
        for path in modules(folder)
        for module in imports_of(path)
        if module.split(".")[0] in libraries
    ]

    assert wrong == []


def test_the_courier_knows_the_protocol_and_nothing_else_of_ours() -> None:
    ours = {
        module
        for path in modules("client/courier")
        for module in imports_of(path)
        if module.startswith("fedward.")
    }

    assert all(module.startswith("fedward.common.protocol") for module in ours)


def test_nothing_is_pickled() -> None:
    wrong = [
        f"{named(path)} imports {module}"
        for path in modules(*ROOMS)
        for module in imports_of(path)
        if module.split(".")[0] in PICKLERS
    ]
    wrong += [
        f"{named(path)} calls {function}"
        for path in modules(*ROOMS)
        for function in ("torch.load(", "torch.save(", "allow_pickle=True", "read_pickle(")
        if function in path.read_text(encoding="utf-8")
    ]

    assert wrong == []


def test_nobody_uses_a_global_or_guessable_generator() -> None:
    """Noise comes from random_source; the few seeded generators for data are made by name."""
    named_makers = {"Generator", "PCG64"}
    wrong = []
    for path in modules(*ROOMS):
        wrong += [
            f"{named(path)} imports {module}"
            for module in imports_of(path)
            if module.split(".")[0] == "random"
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            written = ast.unparse(node)
            legacy = written.startswith("np.random.") and node.attr not in named_makers
            if legacy or written in {"torch.manual_seed", "torch.randn", "torch.normal"}:
                wrong.append(f"{named(path)} uses {written}")

    assert wrong == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("fedward.client.vault.vault", ("flwr", "ray", "torch")),
        ("fedward.client.courier.client_app", ("torch", "opacus", "scipy", "pandas")),
        ("fedward.server.server_app", ("torch", "opacus", "ray", "pandas")),
        ("fedward.common.secure_sum.session", ("flwr", "ray", "torch", "scipy", "pandas")),
        ("fedward.common.study.loading", ("torch", "flwr", "ray")),
        ("fedward.simulations.command_line", ("torch", "flwr", "ray", "pandas")),
    ],
)
def test_importing_a_part_loads_no_library_that_it_does_not_need(
    module: str, heavy: tuple[str, ...]
) -> None:
    script = f"import sys, {module}; print(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
