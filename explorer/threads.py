"""How many cores a computation takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SMALL_WORK = 1e9
"""Parameters times tokens. Below, one thread is nearly as fast as several, and faster on a busy machine. A
page runs in a new thread each time, and with it a new team: one mixer of 24 heads over 64 tokens, 3e8, takes
100 ms in a new team of two, 22 ms in one thread."""


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


FEW_ENTRIES = 10**8
"""Entries of matrices. Below, threads that take turns in the interpreter save nothing: 24 layers of 24 heads
over 64 tokens, 2e6, take 80 ms on two threads and 45 ms on one."""


def side_by_side(make: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `make` returns for each of the items, such as layers, each on a core of its own.

    For work of FEW_ENTRIES and more.
    """

    def alone(item: Item) -> Result:
        use_threads(0)
        return make(item)

    with ThreadPoolExecutor(_cores()) as pool:
        return list(pool.map(alone, items))
