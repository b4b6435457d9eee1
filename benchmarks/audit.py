"""The empirical audit: how long it takes, and how near its lower bounds come to a claimed epsilon.

    python benchmarks/run.py audit

The bounds are measured on sound vaults, over whole rehearsals with 5,000 canaries: full batches, 20
rounds, public ranges, so that nothing but the 20 sums is released. The seeds are fixed here, and
every run of them counts.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass

from findings import Findings, Target, at_least, at_most, table
from workers import Settings, in_fresh_process, mapped

EPSILON = 4.0
RUNS = {1.0: 5, EPSILON: 20, 8.0: 5}
"""Rehearsals at each claimed epsilon; those but of the second are shown alone."""
ROUNDS, SITES, CANARIES = 20, 4, 5000
LEAST_BOUND = 2.2
MOST_SECONDS = 60.0
TIMED = 3
FIRST_SEED = 100
STUDY = "breast_cancer"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One rehearsal to bound."""

    epsilon: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """What one rehearsal showed: of each claim its epsilon and the bounds by both methods."""

    run: Run
    claimed: dict[str, float]
    bounds: dict[str, dict[str, float]]

    def highest(self, claim: str) -> float:
        """The larger of both bounds, which is what an audit holds against the claim."""
        return max(self.bounds[claim].values())


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One audit of the default study: seconds by the clock and of the processor; its verdict."""

    wall: float
    cpu: float
    passed: bool


def bounded(run: Run) -> Bounded:
    """Rehearse on real vaults and bound both claims."""
    from fedward.audits.empirical.claims import audited_claims
    from fedward.audits.empirical.rehearsal import rehearse
    from fedward.common.study.definition import Study
    from fedward.common.study.loading import find_study, load_study

    document = load_study(find_study(STUDY)).model_dump()
    document["training"] |= {"rounds": ROUNDS}
    document["privacy"] |= {"epsilon": run.epsilon}
    document |= {"scaling": {"method": "public_range"}, "statistics": None}
    study = Study.model_validate(document)
    rehearsal = rehearse(study, sites=SITES, canaries=CANARIES, seed=run.seed)
    claims = list(audited_claims(rehearsal))
    return Bounded(
        run=run,
        claimed={claim.name: claim.claimed for claim in claims},
        bounds={
            claim.name: {bound.method: bound.epsilon for bound in claim.bounds} for claim in claims
        },
    )


def timed(seed: int) -> Timed:
    """The whole audit of the default study, imports of its libraries included."""
    wall, cpu = time.perf_counter(), time.process_time()
    from fedward.audits.empirical.audit import audit_study
    from fedward.common.study.loading import find_study, load_study

    found = audit_study(load_study(find_study(STUDY)), seed=seed)
    return Timed(
        wall=time.perf_counter() - wall, cpu=time.process_time() - cpu, passed=found.passed
    )


def measure(settings: Settings) -> Findings:
    """Time the audit by itself first, then rehearse in all processes."""
    times = [in_fresh_process(timed, seed) for seed in range(TIMED)]
    runs = [
        Run(epsilon=epsilon, seed=FIRST_SEED + number)
        for epsilon, count in RUNS.items()
        for number in range(count)
    ]
    return findings_of(times, mapped(bounded, runs, settings))


def findings_of(times: list[Timed], found: list[Bounded]) -> Findings:
    """Lay out the measurements and judge the targets."""
    return Findings(
        title="Empirical audit",
        about=(
            f"`fedward audit empirical` rehearses a study on real vaults, {CANARIES:,} canaries at "
            f"{SITES} sites. Bounds: full batches, {ROUNDS} rounds, delta of the study; the "
            "number of guesses is fixed by simulating the claim. Each bound by itself is above the "
            "truth with probability at most 0.05."
        ),
        tables=(
            table(
                f"The whole audit of {STUDY}, one process",
                ("run", "seconds", "CPU seconds", "verdict"),
                [
                    (
                        str(number),
                        f"{one.wall:.1f}",
                        f"{one.cpu:.1f}",
                        "passed" if one.passed else "FAILED",
                    )
                    for number, one in enumerate(times, start=1)
                ],
            ),
            table(
                "Lower bounds of epsilon: lowest / median / highest run",
                (
                    "claim",
                    "claimed",
                    "runs",
                    "for any mechanism (Steinke et al.)",
                    "of the claimed kind (Mahloujifar et al.)",
                    "higher of both",
                ),
                _rows(found),
            ),
        ),
        targets=tuple(_targets(times, found)),
        notes=(
            "The canaries are those of one rehearsal, so a bound says what one run can show. An "
            "epsilon above it is not refuted, and a bound below the claim does not prove it.",
            f"Seeds {FIRST_SEED} to {FIRST_SEED + RUNS[EPSILON] - 1}, fixed beforehand; no run is "
            "left out.",
            "Seeds 0 to 19 were measured once, when the number of guesses was chosen by the median "
            "of simulated runs: 2.15 / 2.73 / 3.25 at claimed epsilon 4, so the lowest missed 2.2. "
            "Since then it is chosen by what nine of ten simulated runs reach, and measured on new "
            "seeds.",
            "Of 200 simulated runs at claimed epsilon 4, the bound of the claimed kind is below "
            "2.2 in 2 to 4 of 100 for 250 to 600 guesses, and more often for others. So the lowest "
            "of 20 sound runs is below 2.2 a third to half of the time.",
        ),
        figures={
            "times": [asdict(one) for one in times],
            "bounds": [asdict(one) for one in found],
        },
    )


def _rows(found: list[Bounded]) -> list[tuple[str, ...]]:
    rows = []
    for epsilon in RUNS:
        runs = [one for one in found if one.run.epsilon == epsilon]
        for claim in runs[0].bounds if runs else ():
            methods = [
                _spread([one.bounds[claim][method] for one in runs])
                for method in runs[0].bounds[claim]
            ]
            highest = _spread([one.highest(claim) for one in runs])
            claimed = f"{runs[0].claimed[claim]:.4g}"
            rows.append((claim, claimed, str(len(runs)), *methods, highest))
    return rows


def _spread(bounds: list[float]) -> str:
    return f"{min(bounds):.2f} / {statistics.median(bounds):.2f} / {max(bounds):.2f}"


def _targets(times: list[Timed], found: list[Bounded]) -> list[Target]:
    runs = [one for one in found if one.run.epsilon == EPSILON]
    highest = [one.highest("epsilon") for one in runs]
    over = sum(one.highest(claim) > one.claimed[claim] for one in found for claim in one.bounds)
    what = f"claimed epsilon {EPSILON:g}, {len(runs)} runs"
    return [
        at_most(
            f"seconds for the empirical audit of {STUDY}, slowest of {len(times)}",
            max(one.wall for one in times),
            MOST_SECONDS,
            decimals=1,
        ),
        at_least(f"{what}: median lower bound", statistics.median(highest), LEAST_BOUND),
        at_least(f"{what}: lowest lower bound", min(highest), LEAST_BOUND),
        at_most(f"{what}: highest lower bound", max(highest), EPSILON),
        at_most("lower bounds above their claim, all runs and claims", over, 0, decimals=0),
    ]
