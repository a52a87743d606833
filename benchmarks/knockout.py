"""Attention knockout by depth: the figure of a study of Mamba, of any model and data, to compare with it.

    python -m benchmarks.knockout --model AntonV/mamba2-130m-hf --data FILE [--figure knockout.html]

The study is "Mamba Knockout for Unraveling Factual Information Flow" (Endy et al., 2025, arXiv 2505.24244).
What is computed here follows its published code, github.com/nirendy/mamba-knockout. A record is a prompt,
its subject, and the target, the right next word. In some layers in a row, the window, the last token is kept
from reading a span of the prompt: M[last, j] = 0 in all heads, for each j of the span; D·x stays. The figure
is the change of the target's probability, (after − before) / before, in percent: its mean over the records
and the standard error, by the relative depth of the window, from 0 % where its first layer is the model's to
100 % where its last is. There is one column for each span:

    subject     the tokens that hold a character of the subject, where the prompt first has it
    relation    all other tokens, those before the subject and the last one included
    last        the last token, which then reads nothing of what it wrote itself
    first       the first token, a special one if the tokenizer puts one there

All of this is as in the study, and so are windows of 9 layers. Of a target of several tokens, the first
counts. Only records count whose target is the model's most probable next token; the table says how many. What
differs:

  * The study's main figures keep the prompts that each of its models answers right. Those that this model
    does are the samples of an ablation in its appendix.
  * Its bands are 95 % intervals by Student's t; the chart's are 1.96 standard errors to each side.
  * It runs state-spaces/mamba2-* with code of its own. Here transformers' model runs, and --model takes those
    checkpoints, too.
  * A target without a space before it is given one. The study's data have it.

The file is JSON Lines, JSON (a list), CSV or Parquet, with columns `prompt`, `subject`, and one of `target`,
`target_true` (as in NeelNanda/counterfact-tracing, the study's data) and `attribute` (as in known_1000). A
record whose subject is not in its prompt, or that is nothing but its subject, is named and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from benchmarks.measure import print_table
from components.bridge import HookPoint, ModelBridge
from components.models import ModelLoadError, load_bridge
from components.ssd import CutEdge, Edit, hooks_of

SPANS = ("subject", "relation", "last", "first")
WINDOW = 9
"""Layers of a window in the study."""
TARGETS = ("target", "target_true", "attribute")
ROWS = 16
"""Knockouts that run as one batch."""
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".jsonl": partial(pd.read_json, lines=True, dtype=False),
    ".json": partial(pd.read_json, dtype=False),
    ".csv": partial(pd.read_csv, dtype=str, keep_default_na=False),
    ".parquet": pd.read_parquet,
}


@dataclass(frozen=True)
class Record:
    """A prompt of which the model may know the next word."""

    prompt: str
    subject: str
    target: str


@dataclass(frozen=True)
class Question:
    """A record as a model's tokens."""

    ids: Int64[Tensor, "1 seq"]
    target: int
    spans: dict[str, list[range]]
    """The positions of each of SPANS."""


def read_records(file: Path) -> list[Record]:
    """The records of a file; ValueError for one that cannot be read or lacks a column."""
    if file.suffix not in READERS:
        raise ValueError(f"{file} does not end in one of {', '.join(READERS)}.")
    table = READERS[file.suffix](file)
    target = next((name for name in TARGETS if name in table.columns), None)
    if target is None or not {"prompt", "subject"} <= set(table.columns):
        raise ValueError(
            f"{file} has the columns {', '.join(map(str, table.columns))}; it needs prompt, subject, and one "
            f"of {', '.join(TARGETS)}."
        )
    rows = zip(table["prompt"], table["subject"], table[target], strict=True)
    return [Record(*map(str, row)) for row in rows]


def question_of(bridge: ModelBridge, record: Record) -> Question:
    """The record in the model's tokens; ValueError if it has no such spans or no target."""
    tokenizer: Any = bridge.tokenizer
    encoded = tokenizer(record.prompt, return_offsets_mapping=True)
    word = record.target if record.target[:1].isspace() else f" {record.target}"
    ids, longer = encoded["input_ids"], tokenizer(record.prompt + word)["input_ids"]
    if not record.target.strip() or longer[: len(ids)] != ids or longer == ids:
        raise ValueError(f"The target {record.target!r} adds no token of its own to {record.prompt!r}.")
    return Question(
        torch.tensor([ids]),
        longer[len(ids)],
        spans_of(encoded["offset_mapping"], record.prompt, record.subject),
    )


def spans_of(offsets: Sequence[tuple[int, int]], prompt: str, subject: str) -> dict[str, list[range]]:
    """The positions of each of SPANS, given each token's first character and the one after its last."""
    start = prompt.find(subject)
    if start < 0 or not subject.strip():
        raise ValueError(f"The subject {subject!r} is not in the prompt {prompt!r}.")
    stop, count = start + len(subject), len(offsets)
    held = [token for token, (first, end) in enumerate(offsets) if first < stop and end > start]
    around = [range(held[0]), range(held[-1] + 1, count)]
    if len(held) == count:
        raise ValueError(f"The prompt {prompt!r} is its subject alone, without a relation.")
    return {
        "subject": [range(held[0], held[-1] + 1)],
        "relation": [part for part in around if part],
        "last": [range(count - 1, count)],
        "first": [range(1)],
    }


def windows_of(bridge: ModelBridge, size: int | None) -> list[range]:
    """The windows of `size` layers, from the first to the last; by default those of the study.

    ValueError for a model with layers that are no mixers, or with fewer layers.
    """
    layers = len(bridge.blocks)
    if bridge.ssm_layers() != list(range(layers)):
        raise ValueError(
            "This model has layers without a Mamba-2 mixer, which a knockout of M would not reach."
        )
    size = size or (WINDOW if layers >= WINDOW else 1)
    if not 1 <= size <= layers:
        raise ValueError(f"A window of {size} layers does not fit; this model has {layers}.")
    return [range(first, first + size) for first in range(layers - size + 1)]


@torch.no_grad()
def changes(
    bridge: ModelBridge, question: Question, windows: Sequence[range]
) -> Float[Tensor, "window span"] | None:
    """Relative changes of the target's probability, in percent; None if the model answers wrong."""
    before = last_logits(bridge, question, [[]])[0]
    if int(before.argmax()) != question.target:
        return None
    last = question.spans["last"][0]
    knockouts: list[list[Edit]] = [
        [CutEdge(window, None, last, keys=keys) for keys in question.spans[span]]
        for window in windows
        for span in SPANS
    ]
    parts = [knockouts[start : start + ROWS] for start in range(0, len(knockouts), ROWS)]
    after = torch.cat([last_logits(bridge, question, part) for part in parts])
    probability = before.softmax(-1)[question.target]
    change = 100 * (after.softmax(-1)[:, question.target] - probability) / probability
    return change.unflatten(0, (len(windows), len(SPANS)))


def last_logits(
    bridge: ModelBridge, question: Question, rows: Sequence[Sequence[Edit]]
) -> Float[Tensor, "row vocab"]:
    """Those after the last position in runs with the edits of each row, which are one batch."""
    hooks = [
        (name, partial(_in_row, row, function))
        for row, edits in enumerate(rows)
        for name, function in hooks_of(edits)
    ]
    ids = question.ids.expand(len(rows), -1)
    logits, _ = bridge.run_with_cache(ids, names_filter=[], fwd_hooks=hooks, logits_to_keep=1)
    return logits[:, 0].cpu().double()


def _in_row(row: int, function: Callable[..., Tensor | None], tensor: Tensor, hook: HookPoint) -> None:
    after = function(tensor[row : row + 1], hook)
    if after is not None:
        tensor[row] = after[0]


def measured(
    bridge: ModelBridge, records: Sequence[Record], windows: Sequence[range]
) -> Iterator[Float[Tensor, "window span"]]:
    """The changes of each record that the model answers right, with progress on stderr."""
    right = 0
    for number, record in enumerate(records, 1):
        try:
            question = question_of(bridge, record)
        except ValueError as error:
            print(f"\rRecord {number} is left out. {error}", file=sys.stderr)
            continue
        found = changes(bridge, question, windows)
        if found is not None:
            right += 1
            yield found
        print(
            f"\r{number} of {len(records)} records, {right} answered right",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)


def tidy(found: Float[Tensor, "record window span"], windows: Sequence[range]) -> pd.DataFrame:
    """One row per window and span: `depth` in percent, `layers`, `span`, mean `change` and its `error`."""
    mean, error = found.mean(dim=0), found.std(dim=0) / len(found) ** 0.5
    return pd.DataFrame(
        [
            {
                "depth": 100 * position / max(len(windows) - 1, 1),
                "layers": f"{window[0]}–{window[-1]}" if len(window) > 1 else f"{window[0]}",
                "span": span,
                "change": float(mean[position, column]),
                "error": float(error[position, column]),
            }
            for position, window in enumerate(windows)
            for column, span in enumerate(SPANS)
        ]
    )


def print_changes(table: pd.DataFrame) -> None:
    """A row for each window, a column for each span."""
    rows = [
        [f"{depth:.0f}", layers, *(f"{of.change:+z.1f} ± {of.error:.1f}" for of in spans.itertuples())]
        for (depth, layers), spans in table.groupby(["depth", "layers"], sort=False)
    ]
    print_table(["depth, %", "layers", *SPANS], rows)


def figure(table: pd.DataFrame, title: str) -> alt.FacetChart:
    """A column for each span: the mean change by depth, and 1.96 standard errors to each side."""
    x = alt.X("depth:Q", title="relative depth of the window, %", scale=alt.Scale(domain=[0, 100]))
    base = alt.Chart(table).transform_calculate(
        low="datum.change - 1.96 * datum.error", high="datum.change + 1.96 * datum.error"
    )
    zero = alt.Chart(table).mark_rule(color="#5c6370").encode(y=alt.datum(0))
    band = base.mark_area(opacity=0.25, color="#0b3c7d").encode(
        x=x, y=alt.Y("low:Q", title="change of the probability, %"), y2="high:Q"
    )
    line = base.mark_line(point=True, color="#0b3c7d").encode(x=x, y="change:Q", tooltip=list(table.columns))
    panels: alt.FacetChart = (
        alt.layer(zero, band, line)
        .properties(width=220, height=240)
        .facet(column=alt.Column("span:N", sort=list(SPANS), title=None), title=title)
    )
    return panels


def main() -> None:
    """Print the table, and draw the figure if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="a hub id or a folder; by default the embedded model")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the records")
    parser.add_argument(
        "--window", type=int, metavar="LAYERS", help=f"by default {WINDOW}, or 1 if the model has fewer"
    )
    parser.add_argument("--limit", type=int, metavar="RECORDS", help="only so many, from the first")
    parser.add_argument("--device", help="cpu, cuda, …; by default a GPU if there is one")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="by default float32 on a CPU"
    )
    parser.add_argument("--figure", type=Path, metavar="PAGE", help="an .html, .svg or .png to draw to")
    given = parser.parse_args()
    try:
        records = read_records(given.data)[: given.limit]
        bridge = load_bridge(given.model, device=given.device, dtype=given.dtype)
        windows = windows_of(bridge, given.window)
    except (OSError, ValueError, ModelLoadError) as error:
        raise SystemExit(str(error)) from error
    found = list(measured(bridge, records, windows))
    if len(found) < 2:
        raise SystemExit(
            f"{given.model} answers {len(found)} of these {len(records)} records right; a mean and its "
            "standard error need two."
        )
    title = (
        f"{given.model}: windows of {len(windows[0])} of {len(bridge.blocks)} layers, "
        f"n = {len(found)} of {len(records)} records, answered right"
    )
    table = tidy(torch.stack(found), windows)
    print(f"{title}. Change of the target's probability, %: mean ± standard error.\n")
    print_changes(table)
    if given.figure:
        figure(table, title).save(str(given.figure), inline=True)  # a page that fetches nothing


if __name__ == "__main__":
    main()
