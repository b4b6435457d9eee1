"""The ledger's entry of a sum that is asked for, with the noise that it will get."""

from __future__ import annotations

from collections.abc import Sequence

from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.protection import SumRules
from fedward.client.vault.sum_kinds import executed_count
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.study.definition import Study


def planned_entry(
    query: AnySumQuery,
    study: Study,
    kind: SumKind,
    rules: SumRules,
    *,
    query_digest: str,
    cohorts: Sequence[str],
) -> LedgerEntry:
    """What is to be reserved for a query of ``study``, charged to ``cohorts`` in this order."""
    executed = rules.executed
    event = event_alone = None
    if executed is not None:
        event, event_alone = (
            GaussianEvent(
                noise_multiplier=multiplier,
                sampling_rate=executed.sampling_rate,
                count=executed_count(kind, study),
            )
            for multiplier in (executed.noise_multiplier, executed.share_multiplier)
        )
    return LedgerEntry(
        run_id=query.run_id,
        study_digest=query.study_digest,
        study_name=study.about.name,
        query_digest=query_digest,
        kind=kind,
        round=query.round,
        attempt=query.attempt,
        sites=len(query.roster),
        delta=study.privacy.delta,
        holdout=study.evaluation.holdout,
        cohorts=tuple(cohorts),
        event=event,
        event_alone=event_alone,
    )
