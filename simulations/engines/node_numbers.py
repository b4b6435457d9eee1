"""Node ids of a simulated federation: fixed, so that runs repeat exactly."""

from __future__ import annotations

from flwr.app import Context, RecordDict

COORDINATOR_NODE = 1
"""The id that Flower gives a SuperLink."""
FIRST_NODE = 2


def node_of(site_number: int) -> int:
    """Node id of a site number counted from 0."""
    return site_number + FIRST_NODE


def site_number_of(context: Context) -> int:
    """Site number of a ClientApp's context, as Flower's own engine gives it too."""
    return int(context.node_config["partition-id"])


def node_context(site_number: int, *, sites: int) -> Context:
    """Build a site's context as Flower's simulation engine would."""
    return Context(
        run_id=1,
        node_id=node_of(site_number),
        node_config={"partition-id": site_number, "num-partitions": sites},
        state=RecordDict(),
        run_config={},
    )
