"""The measurements of secure sums as tables, targets and notes."""

from __future__ import annotations

import statistics
from dataclasses import asdict

from findings import Findings, Target, at_least, at_most
from flower_secagg import MOST_BYTES, MOST_SECONDS
from secure_sum_results import Measurements
from secure_sum_tables import accuracy_table, adding_table, many_table, secagg_table, site_table

SITE_MILLISECONDS = {16: 40.0, 64: 150.0}
"""Highest CPU time of a release of 10^6 coordinates by number of sites."""
OVER_FLOOR = 3.0
ADDING_MILLISECONDS = 300.0
ADDING_SITES = 64
CONSTANT_MEMORY = 1.05
"""Most memory with many sites over that with few; one release more would be a third."""
AUROC_GAP = 0.002


def findings_of(measured: Measurements) -> Findings:
    """Lay out the measurements and judge the targets."""
    lacking = [
        f"SecAgg+ with {cell.size}, {cell.shares}: {cell.secagg} (its limits: "
        f"{MOST_SECONDS} s, {MOST_BYTES / 2**30:.0f} GiB)"
        for cell in measured.cells
        if isinstance(cell.secagg, str)
    ]
    return Findings(
        title="Secure sums",
        about=(
            "Every release is encoded to the ring, noised, masked against every other site of the "
            "round, and sealed. All times are of one thread in fresh processes. Whole rounds run "
            "over the in-process grid, ours and Flower's own SecAgg+ alike, and training takes no "
            "time on either side."
        ),
        tables=(
            site_table(measured.sites),
            adding_table(measured.adding, measured.memory),
            many_table(measured.many),
            secagg_table(measured.cells),
            accuracy_table(measured.accuracy),
        ),
        targets=tuple(_targets(measured)),
        notes=tuple(_notes(measured)),
        not_measured=(*lacking, *measured.lacking),
        figures=_figures(measured),
    )


def _targets(measured: Measurements) -> list[Target]:
    targets = []
    for cost in measured.sites:
        if (most := SITE_MILLISECONDS.get(cost.sites)) is not None:
            what = f"a site's CPU ms for a release of {cost.length:,}, {cost.sites} sites"
            targets.append(at_most(what, statistics.median(cost.totals), most, decimals=1))
            what = f"masks over bare AES-256-CTR, {cost.sites} sites"
            targets.append(at_most(what, cost.over_floor, OVER_FLOOR, decimals=2))
    for added in measured.adding:
        if added.sites == ADDING_SITES:
            what = f"coordinator's CPU ms to add {added.sites} x {added.length:,}"
            milliseconds = statistics.median(added.adding)
            targets.append(at_most(what, milliseconds, ADDING_MILLISECONDS, decimals=1))
    few, many_added = (
        by_size(measured.adding, key=lambda added: added.sites) for by_size in (min, max)
    )
    what = f"coordinator's peak memory, {many_added.sites} releases over {few.sites}"
    growth = many_added.peak_bytes / few.peak_bytes
    targets.append(at_most(what, growth, CONSTANT_MEMORY, decimals=3))
    many = measured.many
    what = f"{many.sites} sites x {many.parameters:,}: share of rounds whose sum is exact"
    targets.append(at_least(what, many.equal_sums / len(many.masked.sums), 1.0))
    for cell in measured.cells:
        if cell.like_for_like:
            ratio = float("nan") if cell.ratio is None else cell.ratio
            targets.append(at_least(f"SecAgg+ over ours, {cell.size}", ratio, 1.0, decimals=1))
    exact = measured.exact
    what = f"share of {exact.sums:,} masked sums that equal the bare ones"
    targets.append(at_least(what, exact.equal / exact.sums, 1.0))
    for found in measured.accuracy:
        what = f"{found.terms}: AUROC, distributed from pooled DP"
        targets.append(at_most(what, abs(found.gap), AUROC_GAP, decimals=5))
    return targets


def _notes(measured: Measurements) -> list[str]:
    slower = [
        f"{cell.size} with {cell.shares} ({cell.ratio:.2f} times ours)"
        for cell in measured.cells
        if cell.ratio is not None and cell.ratio < 1
    ]
    where = (
        f"It is faster than ours at {'; '.join(slower)}."
        if slower
        else ("Ours is faster there as well.")
    )
    exact, many = measured.exact, measured.many
    return [
        "SecAgg+ is flwr's shipped SecAggPlusWorkflow and secaggplus_mod, which need the legacy "
        "NumPyClient app; clipping_range 8, quantization_range 2^22, modulus_range 2^32, "
        "reconstruction_threshold 2/3 of the shares. Its strategy does not average again.",
        "Targets compare like with like: a mask for every pair of sites. With num_shares below the "
        "number of sites, a client of SecAgg+ has masks with num_shares - 1 others, and so many "
        f"must collude with the server to see its update. {where}",
        "Ours does more: discrete Gaussian noise, a signature on every answer, checks of session "
        "and budget, 64-bit ring. SecAgg+ does more: it makes new keys in every round, and a "
        "client that drops out after it shared its keys does not cost the round; ours asks again.",
        f"Exactness: {exact.sums:,} sums over {exact.releases:,} releases of rosters of one "
        f"session; {exact.bare_elements} of {exact.elements:,} masked elements are bare.",
        f"{many.sites} sites: the sums of {len(many.masked.sums)} rounds with and without masks, "
        "under one noise seed, are compared bit by bit.",
        "AUROC: both arms train on the patients of the same splits and are judged on the same "
        "held-out patients, with fresh noise in every draw. The standard error is that of the "
        "noise, the splits being given. An epsilon that holds even if one of four sites cheats "
        "takes 4/3 of the noise's variance; with 0 colluding, both arms have equal noise.",
    ]


def _figures(measured: Measurements) -> dict[str, object]:
    return {
        "sites": [asdict(cost) for cost in measured.sites],
        "adding": [asdict(cost) for cost in measured.adding],
        "memory": {str(sites): run.peak_bytes for sites, run in measured.memory.items()},
        "many_sites": asdict(measured.many),
        "secagg": [asdict(cell) for cell in measured.cells],
        "exact": asdict(measured.exact),
        "accuracy": [asdict(found) for found in measured.accuracy],
    }
