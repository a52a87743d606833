"""How to read the explorer's pictures: the mathematics with live examples from the embedded model.

Every number and every name of a head on this page is computed from that model and the first preset, or read
from the file of findings, which a script computes from that model and held-out questions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from torch import Tensor

from components.charts import (
    ACCENT,
    EDGE,
    FILL_WIDTH,
    NEGATIVE,
    POSITIVE,
    column_in_words,
    decay_curves_chart,
    head_cells,
    panels_chart,
    readable_axis,
    survival_table,
    visible_tokens,
)
from components.demo import PRESETS, by_task, heads_table, in_words, measures_table, read_findings
from components.models import DEMO
from components.ssd import KINDS, Place, SSDTerms, effective_attention
from explorer.address import tell, write_address
from explorer.captures import Capture, capture, terms_of
from explorer.drawing import draw
from explorer.models import bridge
from explorer.passages import named_passage, show_passage
from explorer.pictures import faithfulness
from explorer.subject import Subject

if TYPE_CHECKING:
    from components.bridge import HookPoint

READING_WIDTH = 1180
PROMPT, LAYER, HEAD = PRESETS[0].prompt, PRESETS[0].layer, PRESETS[0].head
# A word of the prompt, and the one that replaces it to show what the convolution mixes. (As a docstring
# this would appear on the page.)
SWAP = ("kitchen", "library")


def bars(
    values: Sequence[float], names: Sequence[str], title: str, *, picked: int | None = None
) -> alt.Chart:
    """One bar per name: blue above zero, red below, the picked one in the accent colour."""
    red, blue = NEGATIVE.scheme()[0], POSITIVE.scheme()[0]
    table = pd.DataFrame({"order": range(len(names)), "name": names, "value": values})
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X(
                "order:O",
                axis=readable_axis(
                    "",
                    labelExpr=f"{json.dumps(list(names))}[datum.value]",
                    labelAngle=-90 if len(names) > 10 else 0,
                    labelOverlap=False,
                    ticks=False,
                ),
            ),
            y=alt.Y("value:Q", axis=readable_axis(title, tickCount=4, format=".3~r")),
            color=alt.when(alt.datum.order == (-1 if picked is None else picked))
            .then(alt.value(ACCENT))
            .when(alt.datum.value < 0)
            .then(alt.value(red))
            .otherwise(alt.value(blue)),
            tooltip=[alt.Tooltip("name:N", title="at"), alt.Tooltip("value:Q", title=title, format=".3~g")],
        )
        .properties(height=190, autosize=FILL_WIDTH, padding=EDGE)
    )
    return chart


def mixer_terms(of: Capture, layer: int) -> SSDTerms:
    """The terms of a mixer: the embedded model has no other layers."""
    return cast(SSDTerms, terms_of(of, Place(layer)))


def power_of_ten(value: float) -> str:
    """3.1e-07 as LaTeX."""
    mantissa, exponent = f"{value:.0e}".split("e")
    return (f"{mantissa} \\cdot " if mantissa != "1" else "") + f"10^{{{int(exponent)}}}"


@st.cache_data(max_entries=4, show_spinner=False)
def without_cell(prompt: str, layer: int, query: int, key: int) -> tuple[str, float, list[float]]:
    """The model's next token, its probability, and that without one cell, head by head."""
    model = bridge(DEMO)
    logits, cache = model.run_with_cache(prompt)
    probabilities = logits[0, -1].softmax(-1)
    answer = int(probabilities.argmax())

    def cut(head: int) -> float:
        def edit(tensor: Tensor, hook: HookPoint) -> Tensor:
            tensor[:, head, query, key] = 0
            return tensor

        edited = model.run_with_hooks(prompt, fwd_hooks=[(f"blocks.{layer}.mixer.hook_attention", edit)])
        return float(edited[0, -1].softmax(-1)[answer])

    word = visible_tokens(model.to_str_tokens([answer]))[0]
    return word, float(probabilities[answer]), [cut(head) for head in range(cache.ssd_terms(layer).heads)]


tell()
passage = named_passage()
write_address(passage=passage)  # so that Back and a reload keep what was picked

with st.spinner("Running the example through the embedded model"):
    example = capture(Subject(DEMO, PROMPT))
    swapped = capture(Subject(DEMO, PROMPT.replace(*SWAP)))
    errors = {place.layer: faithfulness(example, place.layer) for place in example.places}
tolerance = max(below for _, below in errors.values())

tokens, terms = example.tokens, mixer_terms(example, LAYER)
query = len(tokens) - 1
shown = head_cells(terms, HEAD, tokens)
cells = shown.cells
row = cells[cells["i"] == query]
cell = row.iloc[int(row["attention"].abs().to_numpy().argmax())]
key = int(cell["j"])
of_layer = example.measures[example.measures["layer"] == LAYER].set_index("head")
reads = f"query {query} `{tokens[query]}` reads key {key} `{tokens[key]}`"
word, probability, left = without_cell(PROMPT, LAYER, query, key)

page = st.container(width=READING_WIDTH)

# One sentence, one vocabulary

page.title("How to read this", anchor=False)
page.markdown(
    f"The embedded model has read one text. It expects `{word}` next, with probability {probability:.2%}."
)
with page:
    show_passage(passage)
page.code(PROMPT, language=None, wrap_lines=True)
page.header("A row is a query, a column is a key", anchor="row", divider="gray")
page.markdown(
    "**One vocabulary: query position *i* reads key position *j*.** A row is a query, a column is a key. "
    "No query reads a later key, so *j* ≤ *i*: the upper triangle is empty."
)

# The mathematics

page.header("A head is a memory", anchor="memory", divider="gray")
text, figure = page.columns([5, 6], gap="large")
text.markdown("At every token, a head lets its memory $S$ fade, writes the token into it, and reads.")
text.latex(r"S_i = \alpha_i \, S_{i-1} + dt_i \; x_i B_i^\top")
text.latex(r"y_i = S_i \, C_i + D \, x_i")
text.latex(r"\alpha_i = e^{A \, dt_i}, \qquad A < 0")
text.markdown(
    "- $x$ is what is written, $B$ where, $C$ where it is read.\n"
    "- $dt$ is how strongly. A strong write also fades the rest.\n"
    "- $\\alpha$ is the **retention**: the part that survives this token.\n"
    "- $D$ lets a token pass beside the memory."
)
short, long = (int(head) for head in np.argsort(of_layer["half_life"].to_numpy())[[0, -1]])
retention = (terms.A[short] * terms.dt[0, :, short]).exp().tolist()
lowest = int(np.argmin(retention))
figure.markdown(
    f"**Live:** layer {LAYER}, head {short}. At position {lowest} `{tokens[lowest]}`, "
    f"only {retention[lowest]:.1%} of its memory survives."
)
figure.altair_chart(
    bars(retention, tokens, "retention α", picked=lowest),
    key="retention",
    alt=f"Retention per token of layer {LAYER}, head {short}: lowest, {retention[lowest]:.2f}, "
    f"at position {lowest} {tokens[lowest]}.",
)

page.header("Unrolled, the memory is a matrix", anchor="panels", divider="gray")
text, figure = page.columns([5, 6], gap="large")
text.markdown("Insert the first equation into the second, again and again:")
text.latex(r"y_i = \sum_{j \le i} M_{ij} \; dt_j \, x_j + D \, x_i")
text.latex(r"M_{ij} = L_{ij} \, (C_i \cdot B_j)")
text.latex(r"L_{ij} = \alpha_{j+1} \cdots \alpha_i = e^{A \, (dt_{j+1} + \cdots + dt_i)}")
text.markdown(
    "Content says *what* is read. Decay says *whether it is still there*. Attention is their product."
)
figure.markdown(f"**Live:** layer {LAYER}, head {HEAD}. {reads[0].upper()}{reads[1:]} most.")
figure.latex(
    rf"\underbrace{{{cell['content']:.2f}}}_{{\text{{content}}}} \times "
    rf"\underbrace{{{cell['decay']:.2f}}}_{{\text{{decay}}}} = "
    rf"\underbrace{{{cell['attention']:.2f}}}_{{\text{{attention}}}}"
)
figure.altair_chart(
    bars(row["attention"].tolist(), tokens, f"M, row {query}", picked=key),
    key="row",
    alt=f"Attention of query {query} over all keys: the largest is {cell['attention']:.3g} at key {key} "
    f"{tokens[key]}.",
)
page.markdown("The same for all rows, as on the page Explore. Point at a cell to see its three numbers.")
with page:
    draw(
        panels_chart(shown, pointed=(query, key)),
        key="example",
        alt=f"Content times decay is attention, for layer {LAYER}, head {HEAD}. "
        f"Query {query} {tokens[query]} reads key {key} {tokens[key]} most: "
        f"{cell['content']:.3g} times {cell['decay']:.3g} is {cell['attention']:.3g}.",
    )

page.header("Half-life: how long a head remembers", anchor="half-life", divider="gray")
page.markdown("After how many tokens is half of what was written left? With the mean of *dt* over the text:")
page.latex(r"\text{half-life} = \frac{\ln 2}{|A| \cdot \overline{dt}}")
heads = {"Forgets soonest": short, "Holds longest": long}
for column, (name, head) in zip(page.columns(2, gap="large"), heads.items(), strict=True):
    half = float(of_layer["half_life"][head])
    column.markdown(f"**{name}:** layer {LAYER}, head {head}, half-life {half:.3g} tokens.")
    with column:
        draw(
            decay_curves_chart(survival_table(terms), head, half),
            key=f"decay_{head}",
            alt=f"Survival of the first token in layer {LAYER}: head {head}, half-life {half:.3g} tokens.",
        )
page.caption("The curve falls faster where *dt* is larger. The half-life is that of the mean *dt*.")

page.header("Mean distance: how far a head looks", anchor="distance", divider="gray")
page.markdown(
    "How many tokens lie between a query and what it reads? Each key weighs as much as its |M|. The mean is "
    "over all $n$ queries:"
)
page.latex(r"\text{mean distance} = \frac{1}{n} \sum_i \frac{\sum_j |M_{ij}| \, (i - j)}{\sum_j |M_{ij}|}")
distances = of_layer["mean_distance"]
near, far = int(distances.to_numpy().argmin()), int(distances.to_numpy().argmax())
page.markdown(
    f"**Live:** in layer {LAYER}, head {near} looks back {distances[near]:.3g} tokens, head {far} "
    f"{distances[far]:.3g}. A head with a long half-life can still look near: content decides, too."
)

page.header("Faithfulness: is the picture true?", anchor="faithfulness", divider="gray")
text, figure = page.columns([5, 6], gap="large")
text.markdown("We rebuild each layer's output with the matrix, and compare it with what the model computed:")
text.latex(r"\frac{\max |M \, dt \, x + D \, x - y|}{\max |y|}")
text.markdown(
    "The model computes with about seven digits, so a difference near $10^{-7}$ is rounding. "
    f"Above ${power_of_ten(tolerance)}$ the explorer warns."
)
figure.markdown("**Live:** the largest difference in each layer.")
with figure.container(horizontal=True):
    for layer, (error, _) in errors.items():
        st.markdown(f"Layer {layer}\n\n### ${power_of_ten(error)}$", width="content")

# What the matrix is not

page.header("What the matrix is not", anchor=False, divider="gray")

matrices = effective_attention(terms)[0]
sums = matrices[HEAD].sum(-1).tolist()
text, figure = page.columns([5, 6], gap="large")
text.subheader("Not normalised", anchor=False)
text.markdown(
    "Softmax attention shares out exactly 1 in every row. Here nothing is shared out: "
    f"the rows of this head sum to anything between {min(sums):.2f} and {max(sums):.2f}. "
    "Compare cells within a head, not across models."
)
figure.altair_chart(
    bars(sums, tokens, "sum of row i"),
    key="sums",
    alt=f"Sum of each row of layer {LAYER}, head {HEAD}: between {min(sums):.2f} and {max(sums):.2f}.",
)

of_head = matrices[HEAD]
negative = float(-of_head.clamp(max=0).sum() / of_head.abs().sum())
lowest_cell = cells.iloc[int(cells["attention"].to_numpy().argmin())]
lowest_row = cells[cells["i"] == lowest_cell["i"]]["attention"].tolist()
text, figure = page.columns([5, 6], gap="large")
text.subheader("Signed", anchor=False)
text.markdown(
    "A cell can be red: the head reads what was written with a minus sign. "
    f"{negative:.0%} of the weight of this head is negative. Its most negative cell: "
    f"query {lowest_cell['i']} `{lowest_cell['query']}` reads key {lowest_cell['j']} `{lowest_cell['key']}` "
    f"with {lowest_cell['attention']:.2f}."
)
figure.altair_chart(
    bars(lowest_row, tokens[: len(lowest_row)], f"M, row {lowest_cell['i']}"),
    key="negative",
    alt=f"Attention of query {lowest_cell['i']} over its keys: the lowest is "
    f"{lowest_cell['attention']:.3g} at key {lowest_cell['j']} {lowest_cell['key']}.",
)

first_layer = min([place.layer for place in example.places])
before, after = (mixer_terms(each, first_layer).B[0] for each in (example, swapped))
changes = ((after - before).norm(dim=(-1, -2)) / before.norm(dim=(-1, -2))).tolist()
changed = [at for at, change in enumerate(changes) if change > 1e-6]
text, figure = page.columns([5, 6], gap="large")
text.subheader("Column j is not token j alone", anchor=False)
text.markdown(
    f"{column_in_words(example.kernel)}\n\n"
    f"**Try it:** write `{SWAP[1]}` for `{SWAP[0]}`. One token differs, but {len(changed)} columns of layer "
    f"{first_layer} change: positions {changed[0]} to {changed[-1]}."
)
figure.altair_chart(
    bars(changes, tokens, "change of B"),
    key="mixed",
    alt=f"How much B changes at each position of layer {first_layer} when {SWAP[0]} becomes {SWAP[1]}: "
    f"only positions {changed[0]} to {changed[-1]} change.",
)

readers = [head for head in range(terms.heads) if int(matrices[head, query].abs().argmax()) == key]
needed, idle = min(readers, key=left.__getitem__), max(readers, key=left.__getitem__)
text, figure = page.columns([5, 6], gap="large")
text.subheader("Attention is not explanation", anchor=False)
text.markdown(
    f"In layer {LAYER}, {len(readers)} of {terms.heads} heads read `{tokens[key]}` most in the last row. "
    f"Which of them matter? The picture cannot say, an experiment can.\n\n"
    f"**Cut the cell** in one head and run the model again. Without it in head {needed}, the probability of "
    f"`{word}` is {left[needed]:.2%}. Without it in head {idle}, it is still {left[idle]:.2%}."
)
figure.altair_chart(
    bars(
        [100 * part for part in left],
        [f"head {head}" for head in range(terms.heads)],
        f"% {word} without the cell",
        picked=needed,
    ),
    key="cut",
    alt=f"Probability of {word} after cutting query {query}, key {key} in one head of layer {LAYER}: "
    + ", ".join(f"head {head} {part:.1%}" for head, part in enumerate(left)),
)
page.markdown(
    "After the matrix come a gate, a norm, a projection, the other heads and the other layers. "
    "The matrix shows what a head *can* pass on. What the model makes of it is another question."
)

page.header("Does attention tell what matters?", anchor="matters", divider="gray")
findings = by_task(read_findings())
page.markdown(
    "We asked the embedded model questions that it was not trained on, of four tasks: *where* people are, "
    "*pairs* of a name and a value, a list to *copy*, a *story*. Of each that it answers right, we muted "
    "every head to find the one whose loss costs the answer most. In that head we cut every source, one at a "
    "time, and compared what that costs with what each measure says. The cost is in the logit difference: "
    "the answer less the most probable other token."
)
page.markdown("\n".join(f"- {sentence}" for sentence in in_words(findings)))
page.table(measures_table(findings))
page.caption(
    "How often the source that a measure puts first is the one whose cut costs most, or within three tokens "
    "of it, as far as the convolution reaches. Then the mean rank correlation of the sizes of measure and "
    "effect."
)
page.table(heads_table(findings))
page.caption(
    "How often a head was the one that matters most, what muting that head costs, how far a random change of "
    "the same size moves the logit difference, and how often it was the head that looks farthest."
)
norm, direct = (each for each in KINDS[Place(LAYER).kind].readings if each.needs != "terms")
page.markdown(
    f"On the page Explore, the last panel can show the {norm.label} or the {direct.label}, the direct logit "
    "above, of every cell. Press a cell to pick it: the head map can then show how much every head reads it, "
    "and what cutting it in each costs."
)
page.page_link(
    "app_pages/effect.py", label="Ask the model yourself: Does it matter?", icon=":material/content_cut:"
)
