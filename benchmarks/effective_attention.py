"""Full effective attention of one layer of 130m shape, against the textbook formula and a bare fill.

    python -m benchmarks.effective_attention

Ratios are medians over rounds of one run; the error is the largest difference from float64, over the largest
entry.
"""

import argparse
import statistics
from dataclasses import replace

import torch

from benchmarks.measure import median_ratio, print_table, rounds
from components.ssd import SSDTerms, effective_attention, reference

HEADS, STATE = 24, 128


def random_terms(length: int) -> SSDTerms:
    """Terms of the shape of one layer of mamba2-130m, decaying as its heads do at initialisation."""
    draw = torch.Generator().manual_seed(length)
    return SSDTerms.from_parts(
        x=torch.randn(1, length, HEADS, 64, generator=draw),
        B=torch.randn(1, length, 1, STATE, generator=draw),
        C=torch.randn(1, length, 1, STATE, generator=draw),
        dt=torch.rand(1, length, HEADS, generator=draw) * 0.1,
        A=-torch.arange(1, HEADS + 1),
        D=torch.ones(HEADS),
    )


def textbook(terms: SSDTerms) -> torch.Tensor:
    """The formula as it is written, in float32."""
    return reference.attention(terms, torch.float32)


def error(terms: SSDTerms, head: int) -> tuple[float, float]:
    """Error of ours and of the textbook's for one head, against float64."""
    alone = replace(terms, x=terms.x[:, :, [head]], dt=terms.dt[..., [head]], A=terms.A[[head]])
    truth = reference.attention(alone)[0, 0]
    ours = effective_attention(terms, heads=[head])[0, 0]
    theirs = textbook(terms)[0, head]
    largest = truth.abs().max()
    return float((ours - truth).abs().max() / largest), float((theirs - truth).abs().max() / largest)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    table = []
    for length in (256, 1024, 2048):
        terms = random_terms(length)
        seconds = rounds(
            {
                "ours": lambda terms=terms: effective_attention(terms),
                "textbook": lambda terms=terms: textbook(terms),
                "fill": lambda length=length: torch.empty(1, HEADS, length, length).fill_(1.0),
            },
            repeats,
        )
        errors = [error(terms, head) for head in (0, HEADS - 1)]
        table.append(
            [
                length,
                *(f"{statistics.median(seconds[name]) * 1e3:.1f}" for name in ("ours", "textbook", "fill")),
                f"{median_ratio(seconds['textbook'], seconds['ours']):.1f}",
                f"{median_ratio(seconds['ours'], seconds['fill']):.2f}",
                f"{max(ours for ours, _ in errors):.1e}",
                f"{max(theirs for _, theirs in errors):.1e}",
            ]
        )
    print(f"{HEADS} heads, state {STATE}, one group, float32, {torch.get_num_threads()} threads\n")
    print_table(
        [
            "tokens",
            "ours ms",
            "textbook ms",
            "fill ms",
            "textbook / ours",
            "ours / fill",
            "error",
            "textbook's",
        ],
        table,
    )


if __name__ == "__main__":
    main()
