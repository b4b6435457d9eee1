"""The result of an empirical audit as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.audits.empirical.result import AuditedClaim, EmpiricalAudit, MeterResult, Method

METHOD_NAMES: dict[Method, str] = {
    "steinke_nasr_jagielski_2023": "any mechanism",
    "mahloujifar_melis_chaudhuri_2024": "of the claimed kind",
}
CLAIM_NAMES = {"epsilon": "epsilon", "epsilon_alone": "epsilon alone"}


def print_audit(audit: EmpiricalAudit, console: Console) -> None:
    """Print meters, claims, notes and the verdict."""
    console.print(_meters(audit))
    console.print(_claims(audit))
    for note in audit.notes:
        console.print(Text(f"- {note}"))
    console.print(_verdict(audit))


def _meters(audit: EmpiricalAudit) -> Table:
    table = Table(title=f"Meters: {audit.study_name}, {audit.sites} sites")
    table.add_column("meter")
    for column in ("observed", "expected", "p"):
        table.add_column(column, justify="right")
    table.add_column("verdict", no_wrap=True)
    for meter in audit.meters:
        unit = f" ({meter.unit})" if meter.unit else ""
        table.add_row(
            _plain(meter.check.name.replace("_", " ") + unit),
            _number(meter.observed),
            _number(meter.expected),
            "" if meter.p_value is None else f"{meter.p_value:.2g}",
            _passed(meter.check.passed),
        )
    return table


def _claims(audit: EmpiricalAudit) -> Table:
    table = Table(title=f"Claims and lower bounds, {audit.canaries} canaries")
    table.add_column("claim")
    table.add_column("claimed", justify="right")
    table.add_column("at least", justify="right")
    table.add_column("if it is")
    table.add_column("right guesses", justify="right")
    table.add_column("verdict", no_wrap=True)
    for claim in audit.claims:
        for index, bound in enumerate(claim.bounds):
            table.add_row(
                "" if index else CLAIM_NAMES[claim.name],
                "" if index else f"{claim.claimed:.4g}",
                f"{bound.epsilon:.3f} ({bound.confidence:.0%})",
                METHOD_NAMES[bound.method],
                f"{bound.correct} of {bound.guesses}",
                _passed(bound.epsilon <= claim.claimed),
            )
    return table


def _verdict(audit: EmpiricalAudit) -> Text:
    failed: list[MeterResult | AuditedClaim] = [
        *filter(_failed, audit.meters),
        *(claim for claim in audit.claims if not claim.holds),
    ]
    unmeasured = sum(meter.check.passed is None for meter in audit.meters)
    missing = f"; {unmeasured} meters do not apply" if unmeasured else ""
    if failed:
        return Text(
            f"FAILED: {'; '.join(map(_complaint, failed))}{missing} ({audit.seconds:.0f} s)",
            style="bold red",
        )
    return Text(
        f"Passed: {len(audit.meters) - unmeasured} meters, {len(audit.claims)} claims{missing} "
        f"({audit.seconds:.0f} s)",
        style="green",
    )


def _failed(meter: MeterResult) -> bool:
    return meter.check.passed is False


def _complaint(found: MeterResult | AuditedClaim) -> str:
    if isinstance(found, MeterResult):
        return f"{found.check.name}: {found.check.sentence.rstrip('.')}"
    return (
        f"{found.name} is claimed to be {found.claimed:.4g} at delta {found.delta:g}, and is at "
        f"least {found.highest:.3f}"
    )


def _passed(passed: bool | None) -> Text:
    if passed is None:
        return Text("not applicable", style="dim")
    return Text("passed", style="green") if passed else Text("FAILED", style="bold red")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _plain(text: str) -> Text:
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
