"""What a coordinator could and could not see of the hospitals, in the run at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fedward.simulations.report.numbers import percent
from fedward.simulations.report.traffic import kinds_of, private_federated
from fedward.simulations.results import ExperimentResult


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One thing, whether the coordinator saw it, and why."""

    what: str
    seen: bool
    why: str


def sights_of(result: ExperimentResult) -> tuple[Sight, ...]:
    """All rows, what was seen first; empty where no private federated way was run."""
    if not private_federated(result):
        return ()
    rows = [*_sums(result), *_parts(result), *_never(result)]
    return tuple(sorted(rows, key=lambda row: not row.seen))


def _sums(result: ExperimentResult) -> Iterator[Sight]:
    kinds = kinds_of(result)
    yield Sight(
        what="Which hospitals take part, their public keys, when each answers and with how much",
        seen=True,
        why="It has to ask them. How long an answer is follows from the study, not from patients.",
    )
    yield Sight(
        what="The sum over all hospitals, in each round of training",
        seen=True,
        why="Each patient's part is clipped, and noise is in it before it leaves a hospital. The "
        "model follows from these sums.",
    )
    if "moments" in kinds:
        yield Sight(
            what="Means and spreads of the features, over all hospitals",
            seen=True,
            why="One noised sum of bounded moments, by which features are scaled.",
        )
    if "counts" in kinds:
        yield Sight(
            what="How many training patients have each outcome, over all hospitals",
            seen=True,
            why="One noised sum; the study asks for it.",
        )
    if "evaluation" in kinds:
        yield Sight(
            what=f"How held-out patients are predicted, over {_groups(result)}",
            seen=True,
            why="Confusion counts, a histogram of predictions and squared errors, as a noised sum.",
        )
    per_site = "site_evaluation" in kinds
    yield Sight(
        what="How the held-out patients of one hospital are predicted",
        seen=per_site,
        why="The study asks for it and each hospital's policy allows it: a release of its own, "
        "without a mask, with all of its noise in it."
        if per_site
        else "Only sums over several hospitals are released.",
    )


def _parts(result: ExperimentResult) -> Iterator[Sight]:
    masked = result.masked
    yield Sight(
        what="One hospital's part of a sum",
        seen=not masked,
        why="Any two hospitals add masks that they alone know, which cancel in the sum over all. "
        "By itself, what a hospital sends looks like random numbers."
        if masked
        else "This run added no masks: each part arrives with that hospital's own share of the "
        "noise alone, and ε alone is the number.",
    )
    lost = sum(arm.traffic.lost for arm in private_federated(result) if arm.traffic)
    if not (result.drop_out or lost):
        return
    chance = f" Each failed with a chance of {percent(result.drop_out)} in every exchange here."
    yield Sight(
        what="Which hospital failed to answer, and when",
        seen=True,
        why="The next attempt is made without it." + (chance if result.drop_out else ""),
    )
    yield Sight(
        what="The answers of the others to an attempt that was lost",
        seen=not masked,
        why="Their masks do not cancel, and no secret is given out to take them away. The attempt "
        "is charged, and asked again with fresh patients, noise and masks."
        if masked
        else "They carry no masks. They are charged like any other.",
    )


def _never(result: ExperimentResult) -> Iterator[Sight]:
    per_site = "site_evaluation" in kinds_of(result)
    yield Sight(
        what="How many patients a hospital has, and how many of them are ill",
        seen=False,
        why="It is not sent, and steps divide by the number that the study declares."
        + (" What is released of one hospital tells it through noise alone." if per_site else ""),
    )
    yield Sight(
        what="An exact count, loss or figure",
        seen=False,
        why="Whatever is measured is a noised sum, and charged. The exact figures on this page are "
        "the simulation's.",
    )
    yield Sight(
        what="A patient's record, outcome, gradient or prediction",
        seen=False,
        why="They do not leave the hospital.",
    )
    reproducible = result.insecure_noise_seed is not None
    yield Sight(
        what="The noise",
        seen=reproducible,
        why="It came from a known seed in this run, so anyone can make it again and take it away."
        if reproducible
        else "Each hospital draws its own from the operating system, anew for every answer.",
    )
    if result.masked:
        yield Sight(
            what="The keys of the masks",
            seen=reproducible,
            why="They came from a known seed in this run."
            if reproducible
            else "Hospitals exchange signed public keys through it; the private ones stay.",
        )


def _groups(result: ExperimentResult) -> str:
    found = [
        group
        for arm in private_federated(result)
        for charged in arm.charged_evaluation[:1]
        for group in charged.groups
    ]
    names = list(dict.fromkeys(group.name for group in found))
    if names in ([], ["all"]):
        return "all hospitals"
    return "each group of hospitals (" + ", ".join(names) + ")"
