"""The same numbers twice: the scan and the matrix, and what each costs.

Multiplications of one head with a state of P × N numbers over T tokens, without the exponentials and the
skip. The scan fades, writes and reads the state once a token: 3·P·N·T. The matrix has T·(T + 1) / 2 cells:
each takes N for C·B, one for L, and P to read x.
"""

import random
from collections.abc import Mapping

import numpy as np

from components.charts import token_bars_chart
from components.models import DEMO
from explorer.lessons.lesson import DONE, Control, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HEIGHT, PROMPT, head, run, selected, terms_of
from explorer.subject import Subject

HEAD = head(2, 2)
LENGTHS = (64, 1_024, 16_384)
FROM, TO = 1_024, 16_384
CLEAR = 1.5
"""In a question to check oneself with, one way takes so many times the work of the other, or more."""


def multiplications(tokens: int) -> tuple[int, int]:
    """Of the scan and of the matrix, for one head of the embedded model."""
    terms = terms_of(HEAD)
    dim, state = terms.x.shape[-1], terms.B.shape[-1]
    return 3 * dim * state * tokens, cells(tokens) * (state + 1 + dim)


def cells(tokens: int) -> int:
    """Cells of M up to the diagonal."""
    return tokens * (tokens + 1) // 2


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """What both ways cost for a number of tokens, and how far they differ on a real text."""
    tokens, terms = int(option), terms_of(HEAD)
    scan, matrix = multiplications(tokens)
    cache = run(Subject(DEMO, PROMPT))
    return Scene(
        selection=selected(HEAD),
        figures={
            "costs": token_bars_chart(
                [labels["by_scan"], labels["by_matrix"]],
                np.array([scan, matrix], np.float32) / 1e6,
                labels["work"],
                height=HEIGHT,
            )
        },
        values={
            "tokens": tokens,
            "from": FROM,
            "times": TO // FROM,
            "squared": (TO // FROM) ** 2,
            "ratio": multiplications(TO)[1] / multiplications(FROM)[1],
            "scan_ratio": multiplications(TO)[0] / multiplications(FROM)[0],
            "by_scan": scan,
            "by_matrix": matrix,
            "cells": cells(tokens),
            "dim": terms.x.shape[-1],
            "state": terms.B.shape[-1],
            "numbers": terms.x.shape[-1] * terms.B.shape[-1],
            "error": cache.faithfulness(HEAD.place.layer),
        },
        reached=frozenset({DONE} if matrix < scan else ()),
    )


def right() -> int:
    """The growth that is nearest to the matrix's: none, in proportion, or squared."""
    asked = scene(TO, True, WORDS.labels)
    off = [abs(asked.number("ratio") - growth) for growth in (1, TO / FROM, (TO / FROM) ** 2)]
    return off.index(min(off))


def situation(rng: random.Random) -> Situation | None:
    """Which way is less work for a text several times as long as one for which the work of both is given."""
    given, times = rng.randint(8, 60), rng.choice((2, 3, 5, 10))
    asked = given * times
    (scan, matrix), (scan_asked, matrix_asked) = multiplications(given), multiplications(asked)
    if 1 / CLEAR < scan_asked / matrix_asked < CLEAR:
        return None
    return Situation(
        selection=selected(HEAD),
        values={
            "given": given,
            "asked": asked,
            "scan_given": scan,
            "matrix_given": matrix,
            "times": times,
            "squared": matrix_asked / matrix,
            "scan_asked": scan_asked,
            "matrix_asked": matrix_asked,
        },
        right=0 if scan_asked < matrix_asked else 1 if matrix_asked < scan_asked else 2,
    )


WORDS = Words(
    title="One output, two ways",
    text=(
        "The **scan** carries the state from token to token. The **matrix** lists every pair of tokens. Both "
        "give the same output. The bars count the multiplications that each takes for {tokens:,} tokens, in "
        "millions."
    ),
    question="We go from {from:,} tokens to {times} times as many. What happens to the work of the matrix?",
    choices=("It stays the same", "It takes {times} times as much", "It takes about {squared} times as much"),
    live=(
        "The scan takes {scan_ratio:.0f} times as much. On our text, the outputs differ by {error:.0e} of "
        "the largest value: rounding."
    ),
    meaning=(
        "M has {cells:,} cells at {tokens:,} tokens, since it lists pairs. The state has {dim} × {state} "
        "numbers at any length."
    ),
    task="Find a length at which the matrix is less work than the scan.",
    control="Tokens",
    labels={"by_scan": "scan", "by_matrix": "matrix M", "work": "million multiplications"},
    alts={"costs": "Multiplications for {tokens:,} tokens: {by_scan:,} with the scan, {by_matrix:,} with M."},
    check=(
        "For {given:,} tokens, the scan of a head takes {scan_given:,} multiplications and the matrix "
        "{matrix_given:,}. Which of them takes fewer for {asked:,} tokens?"
    ),
    check_choices=("The scan", "The matrix", "Both take as many"),
    check_why=(
        "With {times} times the tokens, the scan takes {times} times the work: {scan_asked:,}. The "
        "matrix takes {squared:.3g} times the work, about the square: {matrix_asked:,}."
    ),
)

LESSON = Lesson(
    name="two_ways",
    number=5,
    words=WORDS,
    control=Control(LENGTHS, FROM, lambda option: f"{option:,}"),
    asked=TO,
    scene=scene,
    right=right,
    situation=situation,
)
