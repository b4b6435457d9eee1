"""RESULTS.md and the JSON behind it: one file and one section a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from findings import Findings, Measured, Table

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"

_HEADER = """\
# Benchmark results

Written by `python benchmarks/run.py`; edit nothing here. `python benchmarks/run.py NAME ...`
measures some benchmarks anew and keeps the other sections. Whether a target is met is computed
from the figure beside it. The raw figures are in `benchmarks/results/`.
"""


def keep(name: str, measured: Measured, *, folder: Path = FOLDER) -> bool:
    """Write one benchmark's JSON; returns whether it was written.

    Findings without any table never replace earlier ones that have some: a benchmark that could
    not be run here does not wipe out what was measured where it could.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    if path.exists() and not measured.findings.tables:
        earlier = Measured.model_validate_json(path.read_text(encoding="utf-8"))
        if earlier.findings.tables:
            return False
    path.write_text(measured.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return True


def kept(names: Sequence[str], *, folder: Path = FOLDER) -> dict[str, Measured]:
    """Read what is there, in the order of ``names``."""
    found: dict[str, Measured] = {}
    for name in names:
        path = folder / f"{name}.json"
        if path.exists():
            found[name] = Measured.model_validate_json(path.read_text(encoding="utf-8"))
    return found


def page_of(sections: dict[str, Measured]) -> str:
    """The whole page in Markdown: all targets first, then a section a benchmark."""
    rows = [
        (name, *target.cells)
        for name, measured in sections.items()
        for target in measured.findings.targets
    ]
    parts = [_HEADER, "## All targets\n"]
    parts.append(_markdown(("benchmark", "target", "wanted", "measured", "verdict"), rows))
    lacking = [
        f"- {name}: not measured here: {line}"
        for name, measured in sections.items()
        for line in measured.findings.not_measured
    ]
    if lacking:
        parts.append("\n".join(lacking) + "\n")
    parts.extend(_section(name, measured) for name, measured in sections.items())
    return "\n".join(parts)


def write_page(names: Sequence[str], *, folder: Path = FOLDER, page: Path = PAGE) -> None:
    """Write the page from all JSON files that are there."""
    page.write_text(page_of(kept(names, folder=folder)), encoding="utf-8")


def _section(name: str, measured: Measured) -> str:
    findings = measured.findings
    versions = ", ".join(f"{library} {number}" for library, number in measured.versions.items())
    parts = [
        f"## {findings.title} (`{name}`)\n",
        f"{findings.about}\n",
        f"- command: `{measured.command}`\n"
        f"- date: {measured.date}, {measured.seconds:.0f} s\n"
        f"- machine: {measured.machine}\n"
        f"- versions: {versions}\n",
    ]
    parts.extend(_table(shown) for shown in findings.tables)
    if findings.targets:
        cells = [target.cells for target in findings.targets]
        parts.append(_markdown(("target", "wanted", "measured", "verdict"), cells))
    parts.extend(f"Not measured here: {line}\n" for line in findings.not_measured)
    parts.extend(_notes(findings))
    return "\n".join(parts)


def _notes(findings: Findings) -> list[str]:
    return ["\n".join(f"- {note}" for note in findings.notes) + "\n"] if findings.notes else []


def _table(shown: Table) -> str:
    return f"**{shown.title}**\n\n{_markdown(shown.columns, shown.rows)}"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Nothing was measured.\n"
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return (
        "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
