"""Whose held-out patients are summed together: one rule for the vault and the coordinator."""

from __future__ import annotations

from collections.abc import Iterable

from fedward.common.errors import InputError
from fedward.common.study.definition import ALL_SITES, OTHER_SITES, Study


def evaluation_groups(study: Study, roster_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The sites of each evaluation group, sorted, among the names of the federation's roster.

    Every site is in exactly one group, so that a held-out patient enters one sum. A study without
    groups has one, "all"; sites that no group names are "others". So has a roster of one site,
    which is a baseline's with all patients in one place: no study has a group of one. A study that
    plans no sum over groups has none: the answer is empty.

    Raises:
        InputError: a group names a site that is not in the roster, or fewer sites than
            ``cohort.minimum_sites`` are left for "others".
    """
    names = sorted(set(roster_names))
    if not study.evaluation.release:
        return {}
    if len(names) == 1 or not study.evaluation.groups:
        return {ALL_SITES: tuple(names)}
    groups = {group: tuple(sorted(sites)) for group, sites in study.evaluation.groups.items()}
    grouped = {site for sites in groups.values() for site in sites}
    unknown = sorted(grouped.difference(names))
    if unknown:
        raise _problem(study, f"name the site {unknown[0]!r}, which is not in the roster")
    others = tuple(name for name in names if name not in grouped)
    minimum = study.cohort.minimum_sites
    if 0 < len(others) < minimum:
        raise _problem(
            study,
            f"leave {len(others)} of the roster's sites ({', '.join(others)}) for "
            f"{OTHER_SITES!r}, fewer than cohort.minimum_sites = {minimum}",
        )
    return groups | ({OTHER_SITES: others} if others else {})


def _problem(study: Study, problem: str) -> InputError:
    return InputError(
        source=f"study {study.about.name}",
        field="evaluation.groups",
        problem=problem,
        fix="change the groups, or the roster",
    )
