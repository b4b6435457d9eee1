from __future__ import annotations

from typing import Any

from private_step_findings import findings_of


def _row(ratio: float, over: float, *, judged: bool = True) -> dict[str, Any]:
    row: dict[str, Any] = {"case": "LR", "plain_ms": 1.0}
    for key in ("", "bare_"):
        row |= {
            f"{key}private_ms": ratio,
            f"{key}ratio": ratio,
            f"{key}best_opacus_mode": "ghost",
            f"{key}best_opacus_ms": ratio * over,
            f"{key}opacus_over_ours": over,
        }
    row["target_ratio"] = 1.3 if judged else None
    row["target_opacus_over_ours"] = 3.0 if judged else None
    return row


def test_targets_are_judged_from_the_rows() -> None:
    mixed = _row(1.4, 3.5) | {"bare_ratio": 1.0}
    findings = findings_of([_row(1.2, 2.5), mixed, _row(9.0, 0.1, judged=False)])
    # Each case with noise (over plain, over Opacus), then without.
    assert [target.met for target in findings.targets] == [
        *(True, False, True, False),
        *(False, True, True, True),
    ]
    assert len(findings.tables[0].rows) == 6
