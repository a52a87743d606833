"""Each trick of memory and threads, with it and without: the figures beside their names in the code.

    python -m benchmarks.tricks

A ratio is the time without the trick, or with another value, over the time with it, the median over rounds of
one run: above 1 the trick pays.
"""

import argparse
import gc
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from benchmarks.effective_attention import HEADS, random_terms
from benchmarks.measure import median_ratio, print_table, rounds
from benchmarks.pooled_attention import peak_of
from components.models import load_bridge
from components.ssd import (
    SoftmaxTerms,
    attention,
    batches,
    effective_attention,
    mean_distance,
    pooled_attention,
    pooled_softmax,
    pooling,
    reconstruct,
    scan,
    softmax,
    stacked,
)

LENGTH, LONGEST = 2048, 131_072


def with_value(module: object, name: str, value: object, work: Callable[[], object]) -> Callable[[], object]:
    """`work` while the module's `name` is `value`."""

    def run() -> None:
        with patch.object(module, name, value):
            work()

    return run


def on_threads(count: int, work: Callable[[], object]) -> Callable[[], object]:
    """`work` on so many threads of PyTorch."""

    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            work()
        finally:
            torch.set_num_threads(before)

    return run


@contextmanager
def busy() -> Iterator[None]:
    """While other threads multiply matrices, as other visitors' runs do."""
    done = threading.Event()

    def load() -> None:
        torch.set_num_threads(1)
        square = torch.randn(512, 512)
        while not done.is_set():
            square @ square

    others = [threading.Thread(target=load) for _ in range(torch.get_num_threads())]
    for other in others:
        other.start()
    try:
        yield
    finally:
        done.set()
        for other in others:
            other.join()


def plain_zeros(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Zeros that PyTorch writes."""
    return torch.zeros(shape, device=device)


def direct(statistic: str, length: int, repeats: int) -> list[list[object]]:
    """The rows for tiles entry by entry, against separate sums: of one head and of all."""
    terms = random_terms(length)
    table = []
    for heads in ([HEADS // 2], list(range(HEADS))):

        def tiles(heads: list[int] = heads) -> object:
            return pooled_attention(terms, heads=heads, statistic=statistic)

        entry_by_entry = with_value(pooling, "DIRECT_ENTRIES", {statistic: length * length}, tiles)
        separate = {"separate sums": with_value(pooling, "DIRECT_ENTRIES", {statistic: 0}, tiles)}
        table += rows_of(
            f"{statistic} entry by entry, {length:,}, {len(heads)} heads", entry_by_entry, separate, repeats
        )
    return table


def sums_of_rows(queries: int, length: int, repeats: int) -> list[list[object]]:
    """The rows for sums of |M| that separate, against those of rows of M, and for rows at a time."""
    terms = random_terms(length)
    chosen = list(range(0, length, length // queries))

    def sums() -> object:
        return attention.absolute_sums(terms, chosen)

    def entry_by_entry() -> None:
        weight = effective_attention(terms, queries=chosen).abs_()
        lags = torch.tensor(chosen)[:, None] - torch.arange(length)
        weight.sum(dim=-1), weight.mul_(lags).sum(dim=-1)

    return [
        *rows_of(
            f"absolute_sums, {queries} of {length:,} rows", sums, {"rows of M": entry_by_entry}, repeats
        ),
        *rows_of(
            f"SUMMED_ROWS = {attention.SUMMED_ROWS}, {queries} of {length:,} rows",
            sums,
            {f"SUMMED_ROWS = {rows}": with_value(attention, "SUMMED_ROWS", rows, sums) for rows in (16, 64)},
            repeats,
        ),
    ]


def batches_of_layers(length: int, repeats: int) -> list[list[object]]:
    """The row for 24 layers as a batch, against one by one."""
    layers = [random_terms(length) for _ in range(24)]

    def distances() -> None:
        for terms in stacked(layers):
            mean_distance(terms)

    alone = {"layer by layer": with_value(batches, "STACKED_BYTES", 1, distances)}
    return rows_of(f"stacked: 24 layers of {length:,} tokens", distances, alone, repeats)


def softmax_terms(length: int) -> SoftmaxTerms:
    """A layer of softmax attention: 24 heads of 64."""
    q, k = torch.randn(2, 1, length, HEADS, 64, generator=torch.Generator().manual_seed(length))
    return SoftmaxTerms(q, k, 0.125)


def rows_of(
    trick: str, work: Callable[[], object], others: dict[str, Callable[[], object]], repeats: int
) -> list[list[object]]:
    """The trick's rows of the table: for each alternative, its time over the time with the trick."""
    seconds = rounds({"with": work, **others}, repeats)
    took = f"{statistics.median(seconds['with']) * 1e3:.1f}"
    return [[trick, other, took, f"{median_ratio(seconds[other], seconds['with']):.2f}"] for other in others]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    terms, longest, of_softmax = random_terms(LENGTH), random_terms(LONGEST), softmax_terms(LENGTH)

    def whole() -> object:
        return effective_attention(terms)

    def tiles() -> object:
        return pooled_attention(longest, heads=[HEADS // 2], statistic="rms")

    def output() -> object:
        return reconstruct(terms)

    def tiles_of_softmax() -> object:
        return pooled_softmax(of_softmax)

    def values(module: object, name: str, work: Callable[[], object], *others: int) -> list[list[object]]:
        using = {f"{name} = {other:,}": with_value(module, name, other, work) for other in others}
        return rows_of(f"{name} = {getattr(module, name):,}", work, using, repeats)

    table = [
        *rows_of(
            "fresh_zeros",
            whole,
            {"torch.zeros": with_value(attention, "fresh_zeros", plain_zeros, whole)},
            repeats,
        ),
        *values(attention, "BLOCK_ROWS", whole, 16, 32, 128),
        *values(pooling, "LEAF_POSITIONS", tiles, 64, 256),
        *values(pooling, "_LEAVES_AT_A_TIME", tiles, 10**9),
        *direct("mean", 512, repeats),
        *direct("mean", 1024, repeats),
        *direct("rms", 1024, repeats),
        *direct("rms", 2048, repeats),
        *sums_of_rows(240, 240, repeats),
        *sums_of_rows(256, 4096, repeats),
        *(row for length in (60, 240, 1000, 5000) for row in batches_of_layers(length, repeats)),
        *values(scan, "CHUNK", output, 32, 128, 256),
        *values(softmax, "BLOCK_BYTES", tiles_of_softmax, 2**21, 2**25),
        *values(softmax, "_MAX_ROWS", tiles_of_softmax, 16, 256),
    ]
    model = load_bridge("demo", device="cpu")
    ids = torch.randint(0, model.model.config.vocab_size, (1, 60))

    def forward() -> None:
        with torch.inference_mode():
            model.model(input_ids=ids, use_cache=False)

    several = {f"{torch.get_num_threads()} threads": on_threads(torch.get_num_threads(), forward)}
    table += rows_of("use_threads: 1, quiet", on_threads(1, forward), several, repeats * 3)
    with busy():
        table += rows_of("use_threads: 1, busy", on_threads(1, forward), several, repeats * 3)
    unfrozen = statistics.median(rounds({"collect": gc.collect}, repeats)["collect"])
    gc.freeze()
    frozen = statistics.median(rounds({"collect": gc.collect}, repeats)["collect"])
    table.append(["gc.freeze", f"gc.collect() takes {unfrozen * 1e3:.0f} ms", f"{frozen * 1e3:.1f}", ""])
    threads = torch.get_num_threads()
    print(f"{HEADS} heads, {LENGTH:,} tokens; tiles of one head of {LONGEST:,} tokens; {threads} threads\n")
    print_table(["with the trick", "without, or", "with ms", "without / with"], table)

    def last_row() -> object:
        return effective_attention(longest, queries=slice(-1, None))

    memory = [
        ("fresh_zeros", whole, with_value(attention, "fresh_zeros", plain_zeros, whole)),
        ("_LEAVES_AT_A_TIME", tiles, with_value(pooling, "_LEAVES_AT_A_TIME", 10**9, tiles)),
        ("BLOCK_BYTES", last_row, with_value(attention, "BLOCK_BYTES", 2**40, last_row)),
    ]
    print(f"\nMegabytes above what is held before; BLOCK_BYTES: a row over {LONGEST:,} keys\n")
    print_table(
        ["trick", "with", "without"],
        [[name, *(f"{peak_of(work):.0f}" for work in works)] for name, *works in memory],
    )


if __name__ == "__main__":
    main()
