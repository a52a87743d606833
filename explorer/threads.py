"""How many cores a computation takes."""

from __future__ import annotations

from functools import cache

SMALL_WORK = 2e8
"""Parameters times tokens. Below, one thread is nearly as fast as several, and faster on a busy machine."""


@cache
def _cores() -> int:
    """PyTorch's default number of threads."""
    import torch

    return torch.get_num_threads()


def use_threads(work: int | float) -> None:
    """Let PyTorch use all cores in this thread, or one if the work is small.

    `work` is parameters times tokens. Every run of a page has its own thread, and PyTorch would give each a
    team of threads for products of small matrices. The embedded model reads 60 tokens on two threads in 0.93
    of the time of one on a quiet machine, and in 4 to 40 times that time on a busy one (`python -m
    benchmarks.tricks`).
    """
    import torch

    cores = _cores()  # before anything is set
    torch.set_num_threads(cores if work > SMALL_WORK else 1)
