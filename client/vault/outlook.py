"""What a study may still release, so that a budget is looked at once for a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fedward.client.vault.allowance import Events, Prospect
from fedward.common.privacy.cohort_spending import (
    Division,
    StudyCharges,
    divided_events,
    divisions,
)
from fedward.common.privacy.events import GaussianEvent, grouped
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import PART_OF, Part, SumKind

Ahead = tuple[tuple[Part, GaussianEvent], ...]


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a study is expected to release, at the noise of the sums or of this site's shares.

    ``ahead`` are its next releases in order, equal ones in a row as one event that counts them,
    with the part of the patients that they are over.
    """

    study_digest: str
    holdout: float
    ahead: Ahead

    @classmethod
    def after(
        cls,
        kind: SumKind | None,
        *,
        study_digest: str,
        holdout: float,
        counts: Mapping[SumKind, int],
        plan: PrivacyPlan,
        alone: bool,
    ) -> Outlook:
        """All that is left of ``plan`` after a release of ``kind``, over rosters of the same size.

        More of the same kind is expected first, then what follows it in a run, last what was
        skipped. None is before a run: each kind ahead of the training once, then as after one.
        ``counts`` are the study's releases as the plan counts them, that one among them.
        """
        sums = plan.sums
        kinds = list(sums)
        left = {each: planned.count - counts.get(each, 0) for each, planned in sums.items()}
        latest = "training" if kind is None else kind
        here = kinds.index(latest) if latest in kinds else 0
        rows: list[tuple[SumKind, int]] = []
        if kind is None:
            rows = [(each, 1) for each in kinds[:here] if left[each] > 0]
            left |= {each: left[each] - 1 for each, _ in rows}
        rows += [(each, left[each]) for each in (*kinds[here:], *kinds[:here])]
        return cls(
            study_digest=study_digest,
            holdout=holdout,
            ahead=tuple(
                (
                    PART_OF[each],
                    sums[each].event_alone(count) if alone else sums[each].event(count),
                )
                for each, count in rows
                if count > 0
            ),
        )

    def of_part(self, part: Part, events: Events) -> Prospect:
        """The prospect of the study's own releases over one part of the patients."""

        def ahead(n: int) -> Events:
            return grouped((*events, *self._first(n)[part]))

        return Prospect(now=events, ahead=ahead, most=self._most)

    def of_cohort(
        self, studies: Iterable[StudyCharges], *, in_the_end: bool = False
    ) -> tuple[Prospect, ...]:
        """The prospects of the ways to be in parts of a cohort's studies, this one among them.

        Those that must be told apart as it is now; or ``in_the_end``, after all that is ahead.
        """
        now = (*studies, StudyCharges(study_digest=self.study_digest, holdout=self.holdout))
        known = self._with_first(self._most, now) if in_the_end else now
        return tuple(self._of_division(division, now) for division in divisions(known))

    def _of_division(self, division: Division, studies: Iterable[StudyCharges]) -> Prospect:
        before = divided_events(division, studies)

        def ahead(n: int) -> Events:
            first = self._first(n)
            own = (event for part in division[self.study_digest] for event in first[part])
            return grouped((*before, *own))

        return Prospect(now=before, ahead=ahead, most=self._most)

    def _with_first(self, n: int, studies: tuple[StudyCharges, ...]) -> tuple[StudyCharges, ...]:
        first = self._first(n)
        more = StudyCharges(
            study_digest=self.study_digest,
            holdout=self.holdout,
            training=first["training"],
            held_out=first["held_out"],
        )
        return (*studies, more)

    @property
    def _most(self) -> int:
        return sum(event.count for _, event in self.ahead)

    def _first(self, n: int) -> dict[Part, Events]:
        """The next ``n`` releases by part."""
        found: dict[Part, list[GaussianEvent]] = {"training": [], "held_out": []}
        for part, event in self.ahead:
            if n <= 0:
                break
            found[part].append(replace(event, count=min(n, event.count)))
            n -= event.count
        return {part: tuple(events) for part, events in found.items()}
