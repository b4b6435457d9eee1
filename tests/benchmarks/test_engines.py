from __future__ import annotations

from engines import EngineRow, EngineTask, findings_of, timed


def _row(engine: str, later: float, *, model: str = "m", sites: int = 4) -> EngineRow:
    return EngineRow(
        engine=engine, sites=sites, rounds=20, first=10 * later, next=later, model=model
    )


def test_in_process_runs_are_timed_and_repeat() -> None:
    row = timed(EngineTask(engine="in-process", sites=4, rounds=2, again=2))
    assert row.next is not None
    assert row.next > 0
    assert len(row.model) == 64


def test_ratio_and_agreement_are_judged() -> None:
    rows = [_row("in-process", 0.1), _row("ray", 1.0), _row("flower", 2.5)]
    rows.append(_row("in-process", 5.0, sites=500))
    good = findings_of(rows)
    assert [target.met for target in good.targets] == [True, True, True, True]
    assert [target.value for target in good.targets] == [25.0, 25.0, 1.0, 50.0]
    many = _row("in-process", 7.0, sites=500)
    slow = findings_of([*rows[:2], _row("flower", 1.9, model="other"), many])
    assert [target.met for target in slow.targets] == [False, False, False, False]
    assert any("NOT the same" in note for note in slow.notes)


def test_without_ray_the_comparison_is_not_measured() -> None:
    findings = findings_of([_row("in-process", 0.1)], lacking=["no Ray"])
    assert not findings.targets
    assert findings.not_measured == ("no Ray",)
