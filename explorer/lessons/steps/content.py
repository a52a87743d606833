"""Content C·Bᵀ: signed, no softmax, no row sum."""

import random
from collections.abc import Mapping
from itertools import combinations

from components.charts import token_bars_chart
from components.ssd import content, decay, effective_attention
from explorer.lessons.lesson import DONE, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HEIGHT, head, place, selected, terms_of, token_control, words_of
from explorer.lessons.texts import new_text

HEAD = head(2, 2)
ASKED = 29
ROUNDING, CLEAR = 0.005, 0.1
"""Numbers are the same where they differ by less than the first, and clearly others by the second."""


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """One row of C·Bᵀ."""
    query, words, terms = int(option), words_of(), terms_of(HEAD)
    rows = content(terms, queries=[query])[0, :, 0]
    row = rows[HEAD.index]
    largest = int(row.abs().argmax())
    return Scene(
        selection=selected(HEAD, query),
        figures={
            "row": token_bars_chart(
                words[: query + 1], row[: query + 1].numpy(), labels["content"], height=HEIGHT
            )
        },
        values={
            "query": query,
            "token": words[query],
            "sum": float(row.sum()),
            "count": query + 1,
            "negative": int((row < 0).sum()),
            "sharing": int((rows == row).all(-1).sum()),
            "heads": terms.heads,
            "largest": place(words, largest),
            "largest_content": float(row[largest]),
        },
        reached=frozenset({DONE} if row.sum() < 0 else ()),
    )


def right() -> int:
    """Whether the row adds up to one, to zero, or to something else."""
    total = scene(ASKED, True, WORDS.labels).number("sum")
    return next((i for i, sum in enumerate((1, 0)) if abs(total - sum) < ROUNDING), 2)


def situation(rng: random.Random) -> Situation | None:
    """One cell of a new text in two heads: C·B of one, and L of both."""
    text, layer, heads = new_text(rng), rng.randrange(4), rng.sample(range(8), 2)
    key, query = rng.choice(text.nouns), len(text.words) - 1
    terms = terms_of(head(layer, 0), text.prompt)
    of_content, of_decay, of_attention = (
        factor(terms, heads=heads, queries=[query], keys=[key])[0, :, 0, 0].tolist()
        for factor in (content, decay, effective_attention)
    )
    numbers = [of_content[0] * of_decay[1], of_attention[0], of_content[0]]
    if min(abs(a - b) for a, b in combinations([0.0, *numbers], 2)) < CLEAR:
        return None
    off = [abs(each - of_attention[1]) for each in numbers]
    return Situation(
        selection=selected(head(layer, heads[1]), query, text.prompt),
        text=text.prompt,
        values={
            "layer": layer,
            "first": heads[0],
            "second": heads[1],
            "key": text.words[key],
            "first_content": of_content[0],
            "second_content": of_content[1],
            "first_decay": of_decay[0],
            "second_decay": of_decay[1],
            "first_M": of_attention[0],
            "second_M": of_attention[1],
            "shared": numbers[0],
        },
        right=off.index(min(off)) if min(off) < ROUNDING else len(numbers),
    )


WORDS = Words(
    title="Content: asked and offered",
    text=(
        "Each token offers a vector B, and asks with a vector C. The **content** of a cell is their inner "
        "product C·B. The bars show the row of the token `{token}`: its C with every B up to there. Blue is "
        "above zero, red below."
    ),
    question="In softmax attention a row adds up to 1. What does this row of C·B add up to?",
    choices=("To 1, too", "To 0: blue and red cancel", "To neither: nothing makes it"),
    live=(
        "The row of token {query} adds up to {sum:.2f}; {negative} of {count} cells are below zero. "
        "{sharing} of {heads} heads of this layer have this row."
    ),
    meaning=(
        "Content is signed and shares nothing out. Heads of a group have the same B and C, and differ in "
        "their decay."
    ),
    task="Find a token whose row adds up to less than zero.",
    control="Query",
    labels={"content": "content C·B"},
    alts={
        "row": "Content of the row of token {query} {token}: it adds up to {sum:.2f}, and its largest is "
        "{largest_content:.2f} at {largest}."
    },
    check=(
        "At the end, head {first} of layer {layer} has C·B {first_content:.2f} and L {first_decay:.2f} for "
        "`{key}`. In head {second} of the same group L is {second_decay:.2f}. What is M there?"
    ),
    check_choices=(
        "{shared:.2f}",
        "{first_M:.2f}",
        "{first_content:.2f}",
        "Unknown: head {second} has another C·B",
    ),
    check_why=(
        "C·B is {second_content:.2f} in head {second}, too: the heads of a group share B and C. Times its "
        "own L, M is {second_M:.2f}."
    ),
)

LESSON = Lesson(
    name="content",
    number=4,
    words=WORDS,
    control=token_control(ASKED),
    asked=ASKED,
    scene=scene,
    right=right,
    situation=situation,
)
