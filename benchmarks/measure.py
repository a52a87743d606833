"""Timing by turns: every candidate runs once a round, so a slow moment of the machine hits them all.

The order within a round is shuffled (with a fixed seed), so that no candidate always runs after the same one
and finds its memory warm.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def rounds(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    order = random.Random(0)
    for counted in [False] + [True] * repeats:
        for name, candidate in order.sample(list(candidates.items()), len(candidates)):
            start = time.perf_counter()
            candidate()
            if counted:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of one candidate's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=True))


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """One aligned table, in Markdown."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
