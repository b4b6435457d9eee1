"""How many threads a process computes with."""

from __future__ import annotations


def limit_threads() -> None:
    """One for each library: models of this size lose more to hand-over than they gain."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
