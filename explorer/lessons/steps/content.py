"""Content C·Bᵀ: signed, no softmax, no row sum."""

from collections.abc import Mapping

from components.charts import token_bars_chart
from components.ssd import content
from explorer.lessons.lesson import DONE, Control, Lesson, Option, Scene, Words
from explorer.lessons.live import HEIGHT, head, place, selected, terms_of, words_of

HEAD = head(2, 2)
ASKED = 29
ROUNDING = 0.005


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
)

LESSON = Lesson(
    name="content",
    number=4,
    words=WORDS,
    control=Control(tuple(range(30)), ASKED, lambda option: place(words_of(), int(option))),
    asked=ASKED,
    scene=scene,
    right=right,
)
