"""``fedward audit ledger``, ``plan`` and ``steps``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedward.audits.findings import AuditModel

FAILED = 1
"""Exit code of an audit that found an error."""

JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the result to this file.")
]


def ledger(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...", help="Ledgers, exports of ledgers, or the folder of a run."
        ),
    ],
    *,
    roster: Annotated[Path | None, typer.Option(help="The federation's signed roster.")] = None,
    log: Annotated[Path | None, typer.Option(help="The coordinator's log of a run.")] = None,
    study: Annotated[
        str | None, typer.Option(help="The study, to hold releases against its plan.")
    ] = None,
    federation_key: Annotated[
        str | None,
        typer.Option(help="The federation's public key, 64 hex digits.", metavar="HEX"),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Verify ledgers, recompute every epsilon, and reconcile them with a run's log.

    Needs no key but public ones, and changes nothing. Exit code 1 if a check fails.
    """
    from fedward.audits.books.evidence import evidence_of
    from fedward.audits.books.ledger_audit import audit_books
    from fedward.audits.books.ledger_table import show_audit

    evidence = evidence_of(
        files, roster=roster, log=log, study=study, federation_key=federation_key
    )
    console = Console()
    with console.status("Recomputing"):
        audit = audit_books(evidence).audit
    show_audit(audit, console)
    _write(audit, json_file)
    if not audit.passed:
        raise typer.Exit(FAILED)


def plan(
    study: Annotated[str, typer.Argument(help="A study file, or the name of a shipped one.")],
    *,
    sites: Annotated[
        int | None, typer.Option(min=1, help="So many sites take part [cohort.minimum_sites].")
    ] = None,
    ledger: Annotated[
        list[Path] | None, typer.Option(help="A site's ledger or its export; repeatable.")
    ] = None,
    site: Annotated[
        list[Path] | None, typer.Option(help="A site's settings, site.toml; repeatable.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Say what a study would cost each site before anyone runs it, and what is left afterwards.

    Exit code 1 if a cohort's budget does not suffice.
    """
    from fedward.audits.books.plan_cost import cost_of_plan
    from fedward.audits.books.plan_table import show_cost
    from fedward.common.study.loading import find_study, load_study

    cost = cost_of_plan(
        load_study(find_study(study)), sites=sites, ledgers=ledger or (), settings=site or ()
    )
    show_cost(cost, Console())
    _write(cost, json_file)
    if not cost.fits:
        raise typer.Exit(FAILED)


def steps(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Documented steps, or an example's name.")
    ],
    *,
    json_file: JsonFile = None,
) -> None:
    """Recompute the epsilon of training that was documented, beside the one that was claimed.

    Exit code 1 if the claim does not hold, or cannot be shown to.
    """
    from fedward.audits.books.documented_steps import audit_steps, load_steps
    from fedward.audits.books.steps_table import show_steps

    audit = audit_steps(load_steps(file))
    show_steps(audit, Console())
    _write(audit, json_file)
    if not audit.passed:
        raise typer.Exit(FAILED)


def _write(result: AuditModel, path: Path | None) -> None:
    from fedward.audits.json_file import write_json

    if path is not None:
        write_json(result, path)
