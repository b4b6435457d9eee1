from __future__ import annotations

from fedward.simulations.engines.node_numbers import (
    COORDINATOR_NODE,
    node_context,
    node_of,
    site_number_of,
)


def test_node_numbers_and_site_numbers_go_together() -> None:
    nodes = [node_of(number) for number in range(100)]

    assert len(set(nodes)) == 100
    assert COORDINATOR_NODE not in nodes
    for number in (0, 7, 99):
        context = node_context(number, sites=100)
        assert context.node_id == node_of(number)
        assert site_number_of(context) == number
        assert context.node_config["num-partitions"] == 100
