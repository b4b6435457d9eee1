"""Run the benchmarks and write benchmarks/RESULTS.md.

    python benchmarks/run.py [NAME ...] [--data FOLDER] [--processes N]

Without names, everything. Sections of benchmarks that are not run are kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import audit
import breast_cancer
import engines
import heart_disease
import hyperparameter_selection
import ledger_budget
import ledger_verification
import private_step_findings
import secure_sum
from findings import Findings, Measured, show
from machine import machine, versions
from results_page import PAGE, keep, write_page
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from workers import Settings

PARTS: dict[str, Callable[[Settings], Findings]] = {
    "breast_cancer": breast_cancer.measure,
    "heart_disease": heart_disease.measure,
    "private_step": private_step_findings.measure,
    "engines": engines.measure,
    "secure_sum": secure_sum.measure,
    "ledger_budget": ledger_budget.measure,
    "ledger_verification": ledger_verification.measure,
    "audit": audit.measure,
    "hyperparameter_selection": hyperparameter_selection.measure,
}
"""In the order of the page."""


def run_part(name: str, settings: Settings, *, command: str, progress: Progress) -> Measured:
    """Run one benchmark under a progress bar."""
    bar = progress.add_task(name, total=None)

    def watch(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)

    where, started = machine(), time.perf_counter()
    findings = PARTS[name](replace(settings, watch=watch))
    seconds = time.perf_counter() - started
    progress.update(bar, completed=1, total=1) if not findings.tables else None
    return Measured(
        findings=findings,
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seconds=seconds,
        machine=where,
        versions=versions(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for; every part is on the page as soon as it is done."""
    chosen, settings = _parsed(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for name in chosen:
            command = f"python benchmarks/run.py {name}"
            measured = run_part(name, settings, command=command, progress=progress)
            show(measured.findings, progress.console)
            if not keep(name, measured):
                progress.console.print(f"{name}: the earlier section is kept", markup=False)
            write_page(tuple(PARTS))
    console.print(f"Written: {PAGE.parent.name}/{PAGE.name}")


def _parsed(arguments: Sequence[str] | None) -> tuple[list[str], Settings]:
    usual = Settings()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(PARTS)}")
    parser.add_argument(
        "--data",
        type=Path,
        default=usual.heart_disease,
        help="folder of the UCI Heart Disease files (default ../shared/data/heart_disease)",
    )
    parser.add_argument(
        "--processes", type=int, default=usual.processes, help="for accuracy (default 2)"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in PARTS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(PARTS)}")
    if given.processes < 1:
        parser.error("--processes must be at least 1")
    names = [name for name in PARTS if name in given.names or not given.names]
    return names, Settings(processes=given.processes, heart_disease=given.data)


if __name__ == "__main__":
    main()
