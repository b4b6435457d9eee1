"""``fedward audit``: what was spent, is it right, and would an attack have worked."""

from __future__ import annotations

import typer

from fedward.audits.attacks.command_line import attack
from fedward.audits.books.command_line import ledger, plan, steps
from fedward.audits.empirical.command_line import empirical
from fedward.audits.report.command_line import report, verify

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Audit ledgers and studies.")

for _command in (ledger, plan, steps, empirical, attack, report, verify):
    app.command()(_command)
