"""How much a state can hold: longer lists until the embedded model no longer copies them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st

from components.charts import token_bars_chart
from components.demo import copied
from components.models import DEMO
from components.ssd import state_shares
from explorer.effects import prediction
from explorer.lessons.lesson import DONE, Control, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HEIGHT, head, selected, terms_of
from explorer.models import encoded
from explorer.subject import Subject

HEAD = head(2, 0)
ITEMS = (8, 16, 24, 32, 40, 48, 56)
ASKED, HALF, ALMOST = 56, 0.5, 0.9
LISTS, NEW_LISTS = 16, 4
"""Of each length: in the lesson, and in a question to check oneself with."""


@dataclass(frozen=True)
class Recall:
    """How the model copies lists of one length."""

    right: float
    """Of all lists, the part continued with the right word."""
    share: float
    """Mean share of the asked word in the state of the head, where it is asked for."""
    prompt: str
    """One of the lists."""


@st.cache_data(show_spinner=False)
def recall(items: int) -> Recall:
    """Lists of so many words, with the beginning of their copies; always the same ones."""
    return copies(random.Random(items), items, LISTS)


def copies(rng: random.Random, items: int, lists: int) -> Recall:
    """How the model copies new lists of so many words."""
    right, shares = 0, []
    for _ in range(lists):
        question = copied(rng, items)
        prompt = "".join(question.words[:-1])
        answer = encoded(DEMO, question.text)[0][0, -1]
        right += prediction(Subject(DEMO, prompt)).likely(-1)[0] == int(answer)
        terms = terms_of(HEAD, prompt)
        shares.append(float(state_shares(terms, -1, heads=[HEAD.index])[0, 0, question.fact]))
    return Recall(right / lists, float(np.mean(shares)), prompt)


def breaks() -> int:
    """The shortest list, of those measured, at which fewer than half are continued correctly."""
    return next((items for items in ITEMS if recall(items).right < HALF), ITEMS[-1])


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """Recall of lists up to a length."""
    items, terms = int(option), terms_of(HEAD)
    measured = [each for each in ITEMS if each <= items]
    found, least = recall(items), recall(ITEMS[0])
    first = breaks() if revealed else items
    return Scene(
        selection=selected(HEAD, prompt=found.prompt),
        figures={
            "recall": token_bars_chart(
                [str(each) for each in measured],
                np.array([100 * recall(each).right for each in measured], np.float32),
                labels["right"],
                height=HEIGHT,
            )
        },
        values={
            "items": items,
            "asked": ASKED,
            "least": ITEMS[0],
            "lists": LISTS,
            "right": found.right,
            "share": found.share,
            "least_right": least.right,
            "least_share": least.share,
            "breaks": first,
            "dim": terms.x.shape[-1],
            "state": terms.B.shape[-1],
        },
        reached=frozenset({DONE} if items == first and found.right < HALF else ()),
    )


def right() -> int:
    """Whether almost all are right, at least half, or fewer."""
    part = recall(ASKED).right
    return 0 if part >= ALMOST else 1 if part >= HALF else 2


def situation(rng: random.Random) -> Situation | None:
    """The share of the asked word in the state, in new lists of two lengths."""
    few, many = rng.randint(6, 10), rng.randint(32, 48)
    short, long = (copies(rng, items, NEW_LISTS) for items in (few, many))
    candidates = [long.share, short.share, short.share * many / few]
    if long.share < 0.003 or short.share < 2 * long.share or candidates[-1] > 1:
        return None
    off = [abs(each - long.share) for each in candidates]
    return Situation(
        selection=selected(HEAD, prompt=long.prompt),
        values={
            "few": few,
            "many": many,
            "lists": NEW_LISTS,
            **dict(zip(("covered", "same", "grown"), candidates, strict=True)),
            "few_right": short.right,
            "many_right": long.right,
        },
        right=off.index(min(off)),
    )


WORDS = Words(
    title="How much can it hold?",
    text=(
        "The model reads a list of words and begins to copy it. To go on, it must recall which word came "
        "next. Of {lists} lists of {items} words it continues {right:.0%} correctly. The state does not grow "
        "with the list."
    ),
    question="How many does it continue correctly when the lists have {asked} words?",
    choices=("Almost all", "More than half, but not all", "Fewer than half"),
    live=(
        "With {items} words, {right:.0%} are right, and the word it needs is {share:.1%} of the state of one "
        "head. With {least} words it is {least_share:.1%}."
    ),
    meaning=(
        "All words share {dim} × {state} numbers per head, so new ones cover old ones. A softmax layer keeps "
        "every token, and pays with memory that grows."
    ),
    task="Find the shortest of these lists at which fewer than half are right.",
    control="Words in the list",
    labels={"right": "% right"},
    alts={"recall": "Lists continued correctly, by their number of words: {right:.0%} with {items} words."},
    check=(
        "In {lists} new lists of {few} words, the word that the copy needs next holds {same:.1%} of the "
        "state of head 0 in layer 2, on average. What does it hold in lists of {many} words?"
    ),
    check_choices=(
        "{covered:.1%}: the other words cover it",
        "{same:.1%}: each word has its place",
        "{grown:.1%}: the state grows with the list",
    ),
    check_why=(
        "It holds {covered:.1%}: the state keeps its size, and all words share it. The model continues "
        "{few_right:.0%} of the lists of {few} words correctly, and {many_right:.0%} of those of {many}."
    ),
)

LESSON = Lesson(
    name="how_much",
    number=8,
    words=WORDS,
    control=Control(ITEMS, ITEMS[0]),
    asked=ASKED,
    scene=scene,
    right=right,
    situation=situation,
)
