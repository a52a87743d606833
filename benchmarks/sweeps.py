"""Sweeps of edits against plain forward passes of a batch of as many rows.

    python -m benchmarks.sweeps [--large]

64 tokens of the embedded model. With --large, every head of a model of 130m shape with random weights,
against one plain forward pass of one row. Candidates take turns; ratios are medians over the rounds.
"""

import argparse
import statistics
import time
from functools import partial

import torch

from benchmarks.capture import of_130m_shape
from benchmarks.measure import median_ratio, print_table, rounds
from benchmarks.page import drawn_text
from components.bridge import ModelBridge, sweep
from components.models import load_bridge
from components.ssd import CutSource, Edit, Mute

TOKENS = 64


def every_head(bridge: ModelBridge) -> list[Edit]:
    """Each head of each mixer muted."""
    at = [(place.layer, head) for place, heads in bridge.heads.items() for head in range(heads)]
    return [Mute(range(layer, layer + 1), range(head, head + 1)) for layer, head in at]


def sources(layer: int | None, head: int | None) -> list[Edit]:
    """Each token cut, in one head, one layer, or all."""
    where = (
        None if layer is None else range(layer, layer + 1),
        None if head is None else range(head, head + 1),
    )
    return [CutSource(*where, range(at, at + 1)) for at in range(TOKENS)]


def metric(logits: torch.Tensor) -> torch.Tensor:
    """The log probability of one token."""
    return logits.log_softmax(dim=-1)[:, 5]


def plain(bridge: ModelBridge, ids: torch.Tensor, rows: int) -> None:
    """The model's own forward pass, with the logits of the last position."""
    with torch.no_grad():
        bridge.model(input_ids=ids.expand(rows, -1), use_cache=False, logits_to_keep=1)


def embedded(repeats: int) -> None:
    """Print the table of the embedded model."""
    bridge = load_bridge("demo", device="cpu")
    ids = bridge.to_tokens(drawn_text(0, 12))[:, :TOKENS]
    cases: dict[str, list[Edit]] = {"every head": every_head(bridge)}
    for layer in range(len(bridge.blocks)):
        cases[f"every source of a head of layer {layer}"] = sources(layer, 0)
        cases[f"every source of layer {layer}"] = sources(layer, None)
    cases["every source, in all layers"] = sources(None, None)
    table = []
    for name, edits in cases.items():
        found = rounds(
            {
                "sweep": partial(sweep, bridge, ids, edits, metric),
                "plain": partial(plain, bridge, ids, len(edits)),
            },
            repeats,
        )
        milliseconds = [f"{statistics.median(found[each]) * 1e3:.0f}" for each in ("sweep", "plain")]
        table.append([name, len(edits), *milliseconds, f"{median_ratio(found['sweep'], found['plain']):.2f}"])
    print_table(["sweep", "rows", "ms", "plain, ms", "ratio"], table)


def large() -> None:
    """Print the one of a model of 130m shape."""
    bridge = of_130m_shape()
    ids = torch.randint(0, 1000, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    edits = every_head(bridge)
    alone = []
    for _ in range(4):
        began = time.perf_counter()
        plain(bridge, ids, 1)
        alone.append(time.perf_counter() - began)
    began = time.perf_counter()
    sweep(bridge, ids, edits, metric)
    seconds, one = time.perf_counter() - began, statistics.median(alone[1:])
    row = ["every head", len(edits), f"{seconds:.1f}", f"{one:.2f}", f"{seconds / one:.0f}"]
    print_table(["sweep", "rows", "s", "one plain row, s", "ratio"], [row])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    large() if given.large else embedded(given.repeats)


if __name__ == "__main__":
    main()
