from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.client.vault.policy import Refused
from fedward.client.vault.sum_kinds import executed_count, planned_kind
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.definition import Study

MakeQuery = Callable[..., AnySumQuery]
KINDS: dict[str, SumKind] = {
    "moments": "moments",
    "gradient_sum": "training",
    "local_update": "training",
    "counts": "counts",
    "evaluation": "evaluation",
    "site_evaluation": "site_evaluation",
}


@pytest.mark.parametrize("query", KINDS)
def test_a_query_asks_for_one_kind_in_its_own_rounds(
    study_for: Callable[[str], Study], make_query: MakeQuery, query: str
) -> None:
    study = study_for(query)
    planned = []
    for number in range(study.training.rounds + 6):
        try:
            assert planned_kind(make_query(study, query, round=number), study) == KINDS[query]
        except Refused as no:
            if no.reason != RefusalReason.NOT_IN_STUDY:
                raise
        else:
            planned.append(number)

    if KINDS[query] == "training":
        assert planned == list(range(1, study.training.rounds + 1))
    else:
        assert planned == [make_query(study, query).round]


def test_every_round_has_one_kind(study_for: Callable[[str], Study], make_query: MakeQuery) -> None:
    for method in ("gradient_sum", "local_update"):
        study = study_for(method)
        rounds = [make_query(study, query).round for query in KINDS if KINDS[query] != "training"]
        rounds += range(1, study.training.rounds + 1)

        assert len(set(rounds)) == len(rounds)


def test_a_local_update_stands_for_all_of_its_steps(study: Study, local_study: Study) -> None:
    assert executed_count("training", study) == 1
    assert executed_count("training", local_study) == 2  # one epoch of half batches
    assert executed_count("evaluation", local_study) == 1
