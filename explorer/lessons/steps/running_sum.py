"""Decay L from a running sum."""

import math
import random
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from components.charts import token_bars_chart
from components.ssd import decay
from explorer.lessons.lesson import DONE, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HEIGHT, head, place, selected, terms_of, token_control, words_of
from explorer.lessons.texts import new_text

HEAD = head(2, 3)
ASKED, HALF = 16, 0.5


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """The running sum of A·dt, and what is left at the last token of one key."""
    key, words, terms = int(option), words_of(), terms_of(HEAD)
    query = len(words) - 1
    sums = terms.cum_log_decay[0, HEAD.index].numpy()
    steps = np.diff(sums, prepend=0.0)
    steepest = int(steps.argmin())
    left = float(decay(terms, heads=[HEAD.index], queries=[query], keys=[key])[0, 0, 0, 0])
    return Scene(
        selection=selected(HEAD, query),
        figures={
            "sums": token_bars_chart(words, sums.astype(np.float32), labels["sum"], marked=key, height=HEIGHT)
        },
        values={
            "token": words[key],
            "key": key,
            "query": query,
            "at_key": float(sums[key]),
            "at_query": float(sums[query]),
            "difference": float(sums[query] - sums[key]),
            "one_less": 1 + float(sums[query] - sums[key]),
            "grown": math.exp(sums[key] - sums[query]),
            "fallen": math.exp(sums[query] - sums[key]),
            "left": left,
            "distance": query - key,
            "steepest": place(words, steepest),
        },
        reached=frozenset({DONE} if left < HALF else ()),
    )


def right() -> int:
    """The candidate that is L: e to the difference, its inverse, or one less the difference."""
    asked = scene(ASKED, True, WORDS.labels)
    off = [abs(asked.number(name) - asked.number("left")) for name in ("grown", "fallen", "one_less")]
    return off.index(min(off))


def situation(rng: random.Random) -> Situation | None:
    """What is left between two tokens of a new text, given the sums at both."""
    text, picked = new_text(rng), head(rng.randrange(4), rng.randrange(8))
    key, query = sorted(rng.sample(text.nouns, 2))
    terms = terms_of(picked, text.prompt)
    sums = terms.cum_log_decay[0, picked.index]
    at_key, at_query = float(sums[key]), float(sums[query])
    left = float(decay(terms, heads=[picked.index], queries=[query], keys=[key]))
    candidates = [math.exp(power) for power in (at_query - at_key, at_query, at_key, at_key - at_query)]
    if min(abs(a - b) for a, b in combinations(candidates, 2)) < 0.05 or left < 0.05:
        return None
    off = [abs(each - left) for each in candidates]
    return Situation(
        selection=selected(picked, query, text.prompt),
        text=text.prompt,
        values={
            "layer": picked.place.layer,
            "head": picked.index,
            "key": place(text.words, key),
            "query": place(text.words, query),
            "at_key": at_key,
            "at_query": at_query,
            **dict(zip(("fallen", "all", "before", "grown"), candidates, strict=True)),
            "fall": at_key - at_query,
            "left": left,
        },
        right=off.index(min(off)),
    )


WORDS = Words(
    title="Decay is a running sum",
    text=(
        "At every token a head keeps e^(A·dt) of its state. A = −e^A_log is negative, so it never keeps more "
        "than all. Products of e to some power are e to a sum: the bars add up A·dt from the first token on."
    ),
    question=(
        "At `{token}` the sum is {at_key:.2f}, at the last token {at_query:.2f}. How much of `{token}` is "
        "left there?"
    ),
    choices=(
        "e^({at_key:.2f} − ({at_query:.2f})) = {grown:.0%}",
        "e^({at_query:.2f} − ({at_key:.2f})) = {fallen:.0%}",
        "1 + {at_query:.2f} − ({at_key:.2f}) = {one_less:.0%}",
    ),
    live="L[{query},{key}] = e^({difference:.2f}): of `{token}`, {left:.1%} is left at the last token.",
    meaning=(
        "L needs only differences of one sum. It falls in steps, where dt is large; most at `{steepest}`. "
        "Where it has fallen by ln 2, half is left: a half-life."
    ),
    task="Move back to a token of which less than half is left at the end.",
    control="Key",
    labels={"sum": "sum of A·dt"},
    alts={
        "sums": "The running sum of A·dt over the text: {at_key:.2f} at token {key} {token}, {at_query:.2f} "
        "at the last."
    },
    check=(
        "In head {head} of layer {layer}, the sum of A·dt is {at_key:.2f} at `{key}` and {at_query:.2f} at "
        "`{query}`. How much of `{key}` is left at `{query}`?"
    ),
    check_choices=("{fallen:.0%}", "{all:.0%}", "{before:.0%}", "{grown:.0%}"),
    check_why=(
        "Between the two, the sum falls by {fall:.2f}, so L is e^(−{fall:.2f}) = {left:.1%}. What was before "
        "`{key}` does not count."
    ),
)

LESSON = Lesson(
    name="running_sum",
    number=3,
    words=WORDS,
    control=token_control(ASKED),
    asked=ASKED,
    scene=scene,
    right=right,
    situation=situation,
)
