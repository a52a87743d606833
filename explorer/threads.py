"""How many cores a computation takes."""

from __future__ import annotations

from functools import cache

SMALL_WORK = 2e8
"""Parameters times tokens. Below, one thread is as fast as several, and faster on a busy machine."""


@cache
def _cores() -> int:
    """As many threads as PyTorch takes of itself."""
    import torch

    return torch.get_num_threads()


def use_threads(work: int | float) -> None:
    """Let what this thread computes take all cores, or one if it is little.

    `work` is parameters times tokens. Every run of a page is a thread of its own, and PyTorch would give
    each a team to share out products of small matrices; on a busy machine, waiting for that team takes twenty
    times as long as the product.
    """
    import torch

    cores = _cores()  # before anything is set
    torch.set_num_threads(cores if work > SMALL_WORK else 1)
