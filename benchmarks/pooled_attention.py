"""Pooled views of one layer of 130m shape, against computing all of M and pooling it, and against length.

    python -m benchmarks.pooled_attention

Ratios are medians over rounds of one run.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.effective_attention import HEADS, STATE, random_terms
from benchmarks.measure import median_ratio, print_table, rounds
from components.ssd import SSDTerms, effective_attention, pooled_attention

TILES = 128
SHORT, LONG = 16_384, 131_072
GALLERY_LAYERS, GALLERY_TOKENS = 24, 512


def whole(terms: SSDTerms) -> torch.Tensor:
    """RMS over tiles from all of M, a row of tiles at a time. The tiles divide the text."""
    side = terms.length // TILES
    rows = [
        effective_attention(terms, queries=slice(start, start + side))
        .square_()
        .unflatten(-1, (TILES, side))
        .mean(dim=(2, 4))
        for start in range(0, terms.length, side)
    ]
    return torch.stack(rows, dim=2).sqrt_()


def window(terms: SSDTerms, depth: float) -> torch.Tensor:
    """128 × 128 tokens of one head, some way into the text."""
    start = int(depth * (terms.length - 128))
    return pooled_attention(
        terms, heads=[HEADS // 2], queries=slice(start, start + 128), keys=slice(start, start + 128)
    )


def peak_of(work: Callable[[], object]) -> float:
    """Peak megabytes of `work` above the memory used before. (Linux reports and resets a peak.)"""
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{name}:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    short, long, gallery = random_terms(SHORT), random_terms(LONG), random_terms(GALLERY_TOKENS)
    seconds = rounds(
        {
            "mean": lambda: pooled_attention(short),
            "rms": lambda: pooled_attention(short, statistic="rms"),
            "whole": lambda: whole(short),
            "long": lambda: pooled_attention(long, statistic="rms"),
            "window": lambda: [window(long, depth) for depth in (0.0, 0.25, 0.5, 0.75, 1.0)],
            "gallery": lambda: [pooled_attention(gallery, statistic="rms") for _ in range(GALLERY_LAYERS)],
        },
        repeats,
    )
    difference = (pooled_attention(short, statistic="rms") - whole(short)).abs().max() / whole(short).max()
    median = {name: statistics.median(each) for name, each in seconds.items()}

    def ratio(name: str, reference: str) -> str:
        return f"{median_ratio(seconds[name], seconds[reference]):.2f}"

    print(f"{HEADS} heads, state {STATE}, one group, float32, {torch.get_num_threads()} threads\n")
    print_table(
        ["what", "seconds, median", "ratio"],
        [
            [f"all of M, pooled: {SHORT:,} tokens", f"{median['whole']:.2f}", "1"],
            [
                f"pooled RMS: {SHORT:,} tokens",
                f"{median['rms']:.2f}",
                f"1/{ratio('whole', 'rms')}",
            ],
            [f"pooled mean: {SHORT:,} tokens", f"{median['mean']:.2f}", f"1/{ratio('whole', 'mean')}"],
            [f"pooled RMS: {LONG:,} tokens", f"{median['long']:.2f}", f"{ratio('long', 'rms')} × {SHORT:,}"],
            [f"one head's 128 × 128 tokens of {LONG:,}", f"{median['window'] / 5:.4f}", ""],
            [f"{GALLERY_LAYERS * HEADS} heads: {GALLERY_TOKENS} tokens", f"{median['gallery']:.2f}", ""],
        ],
    )
    print(f"\nPooled and whole differ by {difference:.0e} of the largest RMS.")
    megabytes = peak_of(lambda: pooled_attention(long, statistic="rms"))
    print(f"Peak memory of the RMS of {LONG:,} tokens, above the terms: {megabytes:.0f} MB.")


if __name__ == "__main__":
    main()
