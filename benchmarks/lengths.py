"""Time and memory against the length of the text: the textbook formula, all of M in blocks, pooled views.

    python -m benchmarks.lengths [--draw docs/lengths.svg]

One layer of 130m shape, 24 heads. Each figure comes from a process of its own: the peak memory of a first run
above the terms, and the median time of three more. Runs that would take more than `--gigabytes` are left out.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import altair as alt
import pandas as pd

from benchmarks.effective_attention import HEADS, random_terms, textbook
from benchmarks.measure import print_table
from benchmarks.pooled_attention import peak_of
from components.ssd import effective_attention, pooled_attention

WAYS = {
    "textbook formula": textbook,
    "all of M, in blocks": effective_attention,
    "pooled, 128 × 128 RMS": lambda terms: pooled_attention(terms, statistic="rms"),
}
COPIES = {"textbook formula": 4, "all of M, in blocks": 1}
"""Arrays of the size of M that a way keeps at once."""
LENGTHS = [2**power for power in range(6, 18)]


def measure(way: str, length: int) -> dict[str, object]:
    """Seconds and gigabytes of one way at one length."""
    terms = random_terms(length)
    gigabytes = peak_of(lambda: WAYS[way](terms)) / 1e3  # first, while nothing is left over from before
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        WAYS[way](terms)
        seconds.append(time.perf_counter() - start)
    return {"way": way, "tokens": length, "seconds": statistics.median(seconds), "gigabytes": gigabytes}


def draw(rows: list[dict[str, object]], file: Path) -> None:
    """Two panels on logarithmic axes."""
    base = alt.Chart(pd.DataFrame(rows)).mark_line(point=True, strokeWidth=2.5)
    panels = [
        base.encode(
            x=alt.X(
                "tokens:Q",
                scale=alt.Scale(type="log", base=2),
                axis=alt.Axis(values=LENGTHS[::2], format=",", grid=False),
            ),
            y=alt.Y(
                f"{what}:Q",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(values=[10.0**power for power in range(-4, 2)], format="~g"),
            ),
            color=alt.Color(
                "way:N",
                scale=alt.Scale(domain=list(WAYS), range=["#8f1020", "#b45309", "#0b3c7d"]),
                legend=alt.Legend(title=None, orient="top", labelFontSize=13, labelLimit=300),
            ),
        )
        .transform_filter(f"datum.{what} > 0.001" if what == "gigabytes" else "true")
        .properties(width=420, height=260)
        for what in ("seconds", "gigabytes")
    ]
    chart = (
        alt.hconcat(*panels)
        .configure_axis(labelFontSize=12, titleFontSize=13)
        .configure(background="#ffffff")
    )
    chart.save(str(file))


def main() -> None:
    """Measure, print the table, and draw it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "TOKENS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    rows = []
    for way in WAYS:
        for length in LENGTHS:
            if COPIES.get(way, 0) * 4 * HEADS * length**2 > options.gigabytes * 1e9:
                break
            command = [sys.executable, "-m", "benchmarks.lengths", "--one", way, str(length)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
    print_table(
        ["way", "tokens", "seconds", "GB"],
        [
            [row["way"], f"{row['tokens']:,}", f"{row['seconds']:.4f}", f"{row['gigabytes']:.3f}"]
            for row in rows
        ],
    )
    if options.draw:
        draw(rows, options.draw)


if __name__ == "__main__":
    main()
