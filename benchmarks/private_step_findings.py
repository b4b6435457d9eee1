"""The measurements of ``private_step`` as a section of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import private_step
from findings import Findings, Target, at_least, at_most, table
from workers import Settings, in_fresh_process


def measure(settings: Settings) -> Findings:
    """Measure every case in a fresh process, on one thread."""
    rows = in_fresh_process(_measured, None)
    settings.watch(1, 1)
    return findings_of(rows)


def _measured(_: None) -> list[dict[str, Any]]:
    return private_step.measure()


def findings_of(rows: Sequence[dict[str, Any]]) -> Findings:
    """Lay out the rows of ``private_step.measure`` and judge its targets."""
    lines = []
    for row in rows:
        for key, label in (("", row["case"]), ("bare_", f"{row['case']}, without noise")):
            lines.append(
                (
                    label,
                    f"{row['plain_ms']:.3f}",
                    f"{row[f'{key}private_ms']:.3f}",
                    f"{row[f'{key}ratio']:.2f}",
                    f"{row[f'{key}best_opacus_ms']:.3f} ({row[f'{key}best_opacus_mode']})",
                    f"{row[f'{key}opacus_over_ours']:.2f}",
                )
            )
    columns = ("case", "plain torch", "ours", "ours / plain", "Opacus (best mode)", "Opacus / ours")
    return Findings(
        title="One private step",
        about=(
            "Milliseconds of one training step on one thread: 20th percentile of single steps, "
            "all contestants in turns. Ours selects, clips, sums, adds exact discrete Gaussian "
            "noise and descends; plain torch and Opacus get their batch ready made."
        ),
        tables=(table("Milliseconds", columns, lines),),
        targets=tuple(target for row in rows for target in _targets(row)),
        figures={"rows": list(rows)},
    )


def _targets(row: dict[str, Any]) -> list[Target]:
    """Judge a case both ways, as nothing says whether a private step includes its noise."""
    ratio, over = row["target_ratio"], row["target_opacus_over_ours"]
    targets = []
    for key, what in (("", "with noise"), ("bare_", "without noise")):
        case = f"{row['case']}, {what}"
        if ratio is not None:
            measured = row[f"{key}ratio"]
            targets.append(at_most(f"{case}: ours over plain torch", measured, ratio, decimals=2))
        if over is not None:
            measured = row[f"{key}opacus_over_ours"]
            name = f"{case}: Opacus's best mode over ours"
            targets.append(at_least(name, measured, over, decimals=2))
    return targets
