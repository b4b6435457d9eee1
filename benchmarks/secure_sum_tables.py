"""The tables of the benchmark of secure sums."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from findings import Table, table
from secure_sum_accuracy import Comparison
from secure_sum_costs import STEPS, AddingCost, SiteCost
from secure_sum_results import Cell, ManySites, later, later_cpu
from secure_sum_rounds import OurRounds


def site_table(costs: Sequence[SiteCost]) -> Table:
    """A release at a site, step by step."""
    rows = []
    for cost in costs:
        cells = [f"{cost.sites} sites x {cost.length:,}"]
        cells += [f"{statistics.median(cost.steps[step]):.1f}" for step in STEPS]
        cells += [f"{statistics.median(cost.totals):.1f}", f"{min(cost.totals):.1f}"]
        cells += [f"{statistics.median(cost.floor):.1f}", f"{cost.over_floor:.2f}"]
        rows.append(cells)
    columns = ("one release", *STEPS, "total", "best total", "bare AES-CTR", "masks / AES")
    return table("A site's CPU, milliseconds, median", columns, rows)


def adding_table(costs: Sequence[AddingCost], memory: dict[int, OurRounds]) -> Table:
    """What the coordinator takes to verify and add."""
    rows = []
    for cost in costs:
        whole = memory.get(cost.sites)
        peak = whole.peak_bytes if whole else None
        rows.append(
            (
                f"{cost.sites} x {cost.length:,}",
                f"{statistics.median(cost.adding):.1f}",
                f"{statistics.median(cost.verifying):.1f}",
                f"{cost.peak_bytes / 2**20:.1f}",
                "-" if peak is None else f"{peak / 2**20:.1f}",
            )
        )
    columns = (
        "releases",
        "adding, CPU ms",
        "hashes and signatures, CPU ms",
        "peak MiB",
        "peak MiB of a whole round, vaults included",
    )
    return table("The coordinator's sum", columns, rows)


def many_table(many: ManySites) -> Table:
    """Rounds over many sites."""
    run = many.masked
    row = [f"{many.sites} x {many.parameters:,}", f"{run.opening.wall:.2f}"]
    row += [f"{run.rounds[0].wall:.2f}", f"{later(run.rounds):.2f}"]
    row += [f"{run.stages['masks']:.1f}", f"{sum(run.stages.values()):.1f}"]
    row += [f"{run.release_bytes:,}", f"{many.equal_sums} of {len(run.sums)}"]
    columns = (
        "sites x parameters",
        "before the first round, s",
        "first round, keys agreed, s",
        "a later round, s",
        "masks of a release, ms",
        "a release, ms",
        "bytes of a release",
        "exact sums",
    )
    return table("Many sites in one process", columns, [row])


def secagg_table(cells: Sequence[Cell]) -> Table:
    """Flower's SecAgg+ beside ours."""
    rows = []
    for cell in cells:
        theirs, times = ["-", "-"], "-"
        if not isinstance(cell.secagg, str) and cell.ratio is not None:
            theirs = [f"{later(cell.secagg):.3f}", f"{later_cpu(cell.secagg):.3f}"]
            times = f"{cell.ratio:.1f}"
        ours = [f"{cell.our_seconds:.3f}", f"{later_cpu(cell.ours.rounds):.3f}"]
        rows.append([cell.size, cell.shares, *theirs, *ours, times])
    columns = ("size", "SecAgg+ with", "SecAgg+, s", "CPU s", "ours, s", "CPU s", "times ours")
    return table("A whole round, from the second on, median", columns, rows)


def accuracy_table(found: Sequence[Comparison]) -> Table:
    """Distributed beside pooled training."""
    rows = [
        (
            one.terms,
            f"{one.splits} x {one.draws}",
            f"{one.distributed:.4f}",
            f"{one.pooled:.4f}",
            f"{one.gap:+.5f}",
            f"{one.standard_error:.5f}",
            f"{one.interval[0]:+.5f} to {one.interval[1]:+.5f}",
            f"{one.distributed_epsilon:.4f} / {one.pooled_epsilon:.4f}",
        )
        for one in found
    ]
    columns = (
        "data",
        "splits x draws",
        "distributed DP",
        "pooled DP",
        "lost",
        "standard error",
        "95 %",
        "executed epsilon",
    )
    return table("AUROC of distributed and of pooled DP", columns, rows)
