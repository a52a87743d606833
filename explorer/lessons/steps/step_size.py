"""dt is one knob for two things: how strongly a token is written, and how much of the rest is forgotten."""

import math
import random
from collections.abc import Mapping

from components.charts import token_bars_chart
from components.ssd import ScaleDt, SSDTerms, decay, effective_attention
from explorer.lessons.lesson import DONE, Control, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HALF_HEIGHT, head, selected, terms_of, words_of
from explorer.lessons.texts import new_text

HEAD = head(2, 0)
KNOB, BEFORE = 10, 4
"""The token whose dt is set, and one that was written before it."""
ASKED, HALF = 2.0, 0.5
SAME, CLEAR = 1e-6, 0.1
"""Parts that differ by less than the first differ by rounding; the second is a clear difference."""


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """The last row and the survival of an earlier token, with dt of one token scaled."""
    factor, words = float(option), words_of()
    edit = ScaleDt(
        layers=range(HEAD.place.layer, HEAD.place.layer + 1),
        heads=range(HEAD.index, HEAD.index + 1),
        positions=range(KNOB, KNOB + 1),
        factor=factor,
    )
    edits = () if factor == 1 else (edit,)
    rows, left = [], []
    for terms in (terms_of(HEAD), terms_of(HEAD, edits=edits)):
        row = effective_attention(terms, heads=[HEAD.index], queries=[-1], include_dt_scaling=True)
        rows.append(row[0, 0, 0].numpy())
        left.append(decay(terms, heads=[HEAD.index], keys=[BEFORE])[0, 0, :, 0].numpy())
    return Scene(
        selection=selected(HEAD, len(words) - 1, edits=edits).with_view(reading="attention_dt"),
        figures={
            name: token_bars_chart(
                words,
                after,
                labels[name],
                control=before,
                marked=marked,
                height=HALF_HEIGHT,
                compared=labels["before"],
            )
            for name, (before, after), marked in (("survival", left, BEFORE), ("row", rows, KNOB))
        },
        values={
            "token": words[KNOB],
            "earlier": words[BEFORE],
            "factor": factor,
            "written": float(rows[1][KNOB] / rows[0][KNOB]),
            "read": float(rows[1][KNOB]),
            "left_before": float(left[0][-1]),
            "left": float(left[1][-1]),
            "dt": float(terms.dt[0, KNOB, HEAD.index]),
        },
        reached=frozenset({DONE} if left[1][-1] < HALF else ()),
    )


def right() -> int:
    """Less, as much or more of the earlier token is left when dt of a later one is doubled."""
    asked = scene(ASKED, True, WORDS.labels)
    change = asked.number("left") - asked.number("left_before")
    return 1 if change == 0 else 0 if change < 0 else 2


def left_at_end(terms: SSDTerms, head: int, key: int) -> float:
    """What is left of a token at the last one."""
    return float(decay(terms, heads=[head], queries=[-1], keys=[key]))


def situation(rng: random.Random) -> Situation | None:
    """What is left of a token when dt of an earlier or later one is scaled, in a new text."""
    text, picked = new_text(rng), head(rng.randrange(4), rng.randrange(8))
    changed, key = rng.sample(text.nouns, 2)
    edit = ScaleDt(
        layers=range(picked.place.layer, picked.place.layer + 1),
        heads=range(picked.index, picked.index + 1),
        positions=range(changed, changed + 1),
        factor=rng.choice((0.25, 0.5, 3.0, 4.0)),
    )
    terms = terms_of(picked, text.prompt)
    kept = math.exp(terms.dt[0, changed, picked.index] * terms.A[picked.index])
    before = left_at_end(terms, picked.index, key)
    # Clear where percentages show what is left, and what the changed token does.
    if before < CLEAR or abs(kept**edit.factor - kept) < CLEAR:
        return None
    after = left_at_end(terms_of(picked, text.prompt, (edit,)), picked.index, key)
    change = after - before
    if SAME < abs(change) < CLEAR / 2:
        return None
    return Situation(
        selection=selected(picked, len(text.words) - 1, text.prompt, (edit,)),
        text=text.prompt,
        values={
            "layer": picked.place.layer,
            "head": picked.index,
            "changed": text.words[changed],
            "factor": edit.factor,
            "token": text.words[key],
            "left_before": before,
            "left": after,
        },
        right=1 if abs(change) <= SAME else 0 if change < 0 else 2,
    )


WORDS = Words(
    title="dt: one knob for two things",
    text=(
        "Every token sets its own **step size**, dt = softplus(token's part + dt_bias), always above zero. "
        "It is how strongly the token is written: B̄ = dt·B. Above: what is left of `{earlier}`. Below: what "
        "the last token reads."
    ),
    question=("We double dt of `{token}`. What happens to `{earlier}`, written before it?"),
    choices=("Less of it is left", "As much of it is left", "More of it is left"),
    live=(
        "With dt × {factor:g}, `{token}` is read {written:.2f} times as strongly, and {left:.0%} of "
        "`{earlier}` is left at the end. It was {left_before:.0%}."
    ),
    meaning=(
        "A large dt says: write this, forget the rest. That the token itself chooses it is what *selective* "
        "means."
    ),
    task="Set dt so high that less than half of `{earlier}` is left at the end.",
    control="dt of the token, times",
    labels={"survival": "left", "row": "M·dt", "before": "with dt as it is"},
    alts={
        "survival": "What is left of {earlier} after each token: {left:.0%} at the end, with dt of {token} "
        "times {factor:g}.",
        "row": "What the last token reads of each token: {read:.3g} of {token}, with dt times {factor:g}.",
    },
    check=(
        "In head {head} of layer {layer}, dt of `{changed}` is multiplied by {factor:g}. How much of "
        "`{token}` is left at the end of the text?"
    ),
    check_choices=("Less than before", "As much as before", "More than before"),
    check_why=(
        "Without the change {left_before:.0%} of `{token}` is left, with it {left:.0%}. dt of a token "
        "decides what is forgotten of earlier ones, and of none later."
    ),
)

LESSON = Lesson(
    name="step_size",
    number=2,
    words=WORDS,
    control=Control((0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), 1.0, lambda option: f"{option:g}"),
    asked=ASKED,
    scene=scene,
    right=right,
    situation=situation,
)
