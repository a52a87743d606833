"""One state of one head: write, fade, read."""

import random
from collections.abc import Mapping

from components.charts import token_bars_chart
from components.ssd import decay, effective_attention, state_shares
from explorer.lessons.lesson import DONE, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HEIGHT, head, place, selected, terms_of, token_control, words_of
from explorer.lessons.texts import new_text

HEAD = head(2, 0)
START = 2
MANY, MUCH = 3, 0.1
"""The task: a state in which three tokens have a tenth each."""


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """What the state holds after one token."""
    at, words, terms = int(option), words_of(), terms_of(HEAD)
    shares = state_shares(terms, at, heads=[HEAD.index])[0, 0].numpy()
    row = effective_attention(terms, heads=[HEAD.index], queries=[at])[0, 0, 0]
    largest = int(shares.argmax())
    many = int((shares >= MUCH).sum())
    return Scene(
        selection=selected(HEAD, at),
        figures={
            "shares": token_bars_chart(words[: at + 1], shares, labels["share"], marked=at, height=HEIGHT)
        },
        values={
            "token": words[at],
            "share": float(shares[at]),
            "diagonal": float(row[at]),
            "dim": terms.x.shape[-1],
            "state": terms.B.shape[-1],
            "largest": place(words, largest),
            "largest_share": float(shares[largest]),
            "many": many,
            "much": MUCH,
            "at": at,
        },
        reached=frozenset({DONE} if many >= MANY else ()),
    )


def right() -> int:
    """Whether a token reads itself: the diagonal of M is not zero."""
    return 0 if scene(START, True, WORDS.labels).number("diagonal") else 1


def situation(rng: random.Random) -> Situation | None:
    """What two heads that fade differently still hold of one token, after a new text."""
    text = new_text(rng)
    layer, heads = rng.randrange(1, 4), rng.sample(range(8), 2)
    key = rng.choice(text.nouns[: len(text.nouns) // 2])
    last, terms = len(text.words) - 1, terms_of(head(layer, 0), text.prompt)
    left = decay(terms, heads=heads, queries=[last], keys=[key])[0, :, 0, 0]
    kept = (left ** (1 / (last - key))).tolist()  # of one step: the geometric mean
    shares = state_shares(terms, last, heads=heads)[0, :, key].tolist()
    more, less = (0, 1) if shares[0] > shares[1] else (1, 0)
    # Clear where the head that fades less holds more, and by far.
    if shares[more] < 0.03 or shares[more] < 3 * abs(shares[less]) or kept[more] - kept[less] < 0.05:
        return None
    return Situation(
        selection=selected(head(layer, heads[more]), last, text.prompt),
        text=text.prompt,
        values={
            "layer": layer,
            "first": heads[0],
            "second": heads[1],
            "first_kept": kept[0],
            "second_kept": kept[1],
            "token": text.words[key],
            "first_share": shares[0],
            "second_share": shares[1],
        },
        right=more,
    )


WORDS = Words(
    title="One state of one head",
    text=(
        "A head keeps one **state**, a matrix of {dim} × {state} numbers. It starts at zero: nothing has "
        "been read. Each token lets it fade, is written into it, and reads from it. The bars show which "
        "part of the state each token holds after `{token}`."
    ),
    question="The head has just come to `{token}`. Is `{token}` itself part of what it reads there?",
    choices=(
        "Yes: the head writes, then it reads",
        "No: it reads what was there before",
    ),
    live="After token {at} `{token}`, {share:.0%} of the state is `{token}`. M[{at},{at}] is {diagonal:.2f}.",
    meaning=(
        "The output at a token reads the state *after* that token, so the diagonal of M counts: "
        "y at i uses x at i, not only x up to i − 1."
    ),
    task="Go on through the text until three tokens hold at least {much:.0%} of the state each.",
    control="After token",
    labels={"share": "share of the state"},
    alts={
        "shares": "Share of the state that each token holds after token {at} {token}: the largest is "
        "{largest_share:.0%} of {largest}."
    },
    check=(
        "After `{token}`, head {first} of layer {layer} keeps {first_kept:.0%} of its state per token, head "
        "{second} {second_kept:.0%}. In which state does `{token}` have the larger share at the end?"
    ),
    check_choices=("In that of head {first}", "In that of head {second}", "In both the same"),
    check_why=(
        "`{token}` is {first_share:z.1%} of the state of head {first}, and {second_share:z.1%} of that of "
        "head {second}. Each token fades what was there before."
    ),
)

LESSON = Lesson(
    name="one_state",
    number=1,
    words=WORDS,
    control=token_control(START),
    asked=START,
    scene=scene,
    right=right,
    situation=situation,
)
