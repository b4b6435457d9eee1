"""Every command that README and docs show runs as shown, page by page and from top to bottom."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from fedward.common.command_line import run

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
HEART_DISEASE = "../shared/data/heart_disease"

NOT_RUN = {
    "sets up a virtual environment",
    "needs a Ray cluster",
    "interrupted by hand",
}
"""The only reasons for which a shown command may go untested."""

BLOCK = re.compile(
    r"(?:^<!-- (?P<word>not run|needs|file|exits 1): (?P<what>[^\n]+?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block, and the comment right before it."""

    language: str
    body: str
    word: str | None
    what: str | None

    @property
    def commands(self) -> list[list[str]]:
        lines = [line[2:] for line in self.body.splitlines() if line.startswith("$ ")]
        return [shlex.split(line) for line in lines]


def blocks_of(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text("utf-8"))
    return [Block(m["language"], m["body"], m["word"], m["what"]) for m in found]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runs_something(page: Path) -> bool:
    return any(b.language == "console" and b.word != "not run" for b in blocks_of(page))


def missing(need: str | None) -> str | None:
    """Why this machine cannot run a block with this need; None if it can."""
    if need == "heart_disease" and not (ROOT / HEART_DISEASE).is_dir():
        return f"{HEART_DISEASE} is absent"
    if need == "ray" and find_spec("ray") is None:
        return "Ray is not installed"
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if runs_something(page)], ids=name_of)
def test_shown_commands_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    left_out = []
    for block in blocks_of(page):
        if block.word == "file" and block.what is not None:
            path = tmp_path / block.what
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, "utf-8")
        if block.language != "console" or block.word == "not run":
            continue
        reason = missing(block.what) if block.word == "needs" else None
        if reason is not None:
            left_out.append(reason)
            continue
        expected = 1 if block.word == "exits 1" else 0
        for command in block.commands:
            code = execute(command)
            assert code == expected, f"{shlex.join(command)}\n{capsys.readouterr().err}"
    if left_out:
        pytest.skip(f"all but some blocks ran: {', '.join(left_out)}")


def execute(command: list[str]) -> int:
    """Run one command where we are; fedward in this process, which has imported its libraries."""
    program, *arguments = command
    if program == "python":
        return subprocess.run([sys.executable, *arguments], check=False).returncode
    assert program == "fedward", f"neither fedward nor python: {shlex.join(command)}"
    return run([word.replace(HEART_DISEASE, str(ROOT / HEART_DISEASE)) for word in arguments])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_marked_as_this_file_reads_them(page: Path) -> None:
    blocks = blocks_of(page)
    text = page.read_text("utf-8")
    assert text.count("\n```") == 2 * len(blocks), "a fenced block is not closed, or is indented"
    assert len(re.findall(r"<!-- (?:not run|needs|file|exits 1): ", text)) == sum(
        block.word is not None for block in blocks
    ), "a comment does not stand right before its block"
    for block in blocks:
        if block.language == "console":
            assert block.commands, "a console block without a line that starts with '$ '"
            assert block.word in {None, "not run", "needs", "exits 1"}
        else:
            assert not re.search(r"^\$ ", block.body, re.MULTILINE), "a command in another block"
        if block.word == "not run":
            assert block.what in NOT_RUN
        if block.word == "needs":
            assert block.what in {"heart_disease", "ray"}


def test_a_failing_command_is_noticed() -> None:
    assert execute(["fedward", "simulate", "no_such_study"]) == 2
