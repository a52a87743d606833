"""From M to the answer: cut the darkest cell of two heads. Attention is not explanation."""

import random
from collections.abc import Mapping

import numpy as np

from components.charts import token_bars_chart
from components.models import DEMO
from components.ssd import CutEdge, effective_attention
from explorer.effects import prediction, readings
from explorer.lessons.lesson import Control, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HALF_HEIGHT, HEIGHT, PROMPT, head, selected, terms_of, words_of
from explorer.lessons.texts import new_text
from explorer.models import bridge
from explorer.subject import Subject

LAYER, HEADS = 2, (2, 0)
LOST = 0.5
"""The answer is gone where its probability is below."""
SURELY_LOST, SURELY_KEPT = 0.3, 0.8
"""In questions to check oneself with, the probability of the answer is below or above."""
ALIKE, MUCH_MORE = 0.2, 3.0
"""There, the two cells differ by at most this part, and what they add to the logit by at least this."""


def darkest(index: int) -> tuple[int, np.ndarray]:
    """The key of the darkest cell of the last row of a head, and the row."""
    row = effective_attention(terms_of(head(LAYER, index)), heads=[index], queries=[-1])[0, 0, 0].numpy()
    return int(np.abs(row).argmax()), row


def edit(index: int) -> CutEdge:
    """Cuts that cell."""
    return cut_of(index, len(words_of()) - 1, darkest(index)[0])


def cut_of(index: int, query: int, key: int) -> CutEdge:
    """Cuts one cell of a head."""
    return CutEdge(
        layers=range(LAYER, LAYER + 1),
        heads=range(index, index + 1),
        positions=range(query, query + 1),
        keys=range(key, key + 1),
    )


def probabilities(cut: int | None) -> tuple[list[str], np.ndarray]:
    """The words that can follow, and how probable each is; the answer without the cut comes first."""
    before = prediction(Subject(DEMO, PROMPT))
    after = prediction(Subject(DEMO, PROMPT, () if cut is None else (edit(cut),)))
    likely = before.likely(-1)[:4]
    likely += [token for token in after.likely(-1)[:4] if token not in likely]
    names = [text.strip() for text in bridge(DEMO).to_str_tokens(likely)]
    return names, np.array([after.probability(-1, token) for token in likely], np.float32)


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """Before the answer, the last row of both heads; then what the model answers with a cell cut."""
    cut = None if option == NONE else int(str(option).split(".")[-1])
    words, query = words_of(), len(words_of()) - 1
    names, shown = probabilities(cut)
    keys = [darkest(index)[0] for index in HEADS]
    left = {f"left_{index}": float(probabilities(index)[1][0]) for index in HEADS}
    if revealed:
        figures = {"answers": token_bars_chart(names, shown, labels["probability"], height=HEIGHT)}
    else:
        figures = {
            f"row_{index}": token_bars_chart(
                words, row, labels["row"].format(head=index), marked=key, height=HALF_HEIGHT
            )
            for index in HEADS
            for key, row in [darkest(index)]
        }
    edits = () if cut is None else (edit(cut),)
    return Scene(
        selection=selected(head(LAYER, HEADS[0] if cut is None else cut), query, edits=edits),
        figures=figures,
        values={
            "layer": LAYER,
            "cut": labels[str(option)],
            "query": query,
            "token": words[query],
            "first": HEADS[0],
            "second": HEADS[1],
            "key": words[keys[0]],
            "second_key": words[keys[1]],
            "answer": names[0],
            "likeliest": names[int(shown.argmax())],
            "probability": float(shown.max()),
            "whole": float(probabilities(None)[1][0]),
            "of_first": left[f"left_{HEADS[0]}"],
            "of_second": left[f"left_{HEADS[1]}"],
        },
        reached=frozenset() if cut is None else frozenset({str(option)}),
    )


def right() -> int:
    """Where the answer goes: with the cell of the first head, of the second, of either, or of none."""
    asked = scene(NONE, True, WORDS.labels)
    gone = asked.number("of_first") < LOST, asked.number("of_second") < LOST
    return [(True, False), (False, True), (True, True), (False, False)].index(gone)


def situation(rng: random.Random) -> Situation | None:
    """Two heads that read the answer of a new text about as much, one of which the answer hangs on."""
    text = new_text(rng)
    subject, query = Subject(DEMO, text.prompt), len(text.words) - 1
    rows = effective_attention(terms_of(head(LAYER, 0), text.prompt), queries=[query])[0, :, 0]
    read = [index for index, key in enumerate(rows.abs().argmax(-1).tolist()) if key == text.fact]
    if len(read) < 2:
        return None
    heads = rng.sample(read, 2)
    M = rows[heads, text.fact].tolist()
    if abs(abs(M[0]) - abs(M[1])) > ALIKE * abs(M[0]):
        return None
    before, cuts = prediction(subject), [cut_of(index, query, text.fact) for index in heads]
    target, foil = before.likely(-1)[:2]
    after = [prediction(Subject(DEMO, text.prompt, (edit,))) for edit in cuts]
    left = [float(each.probability(-1, target)) for each in after]
    gone = [part < SURELY_LOST for part in left]
    # Clear where one cut alone costs the answer, and what the cells add shows which.
    if sum(gone) != 1 or max(left) < SURELY_KEPT:
        return None
    found = [readings(subject, query, target, foil, head(LAYER, index)) for index in heads]
    added = [float(each["direct logit"][text.fact]) for each in found]
    lost = gone.index(True)
    if added[lost] - added[1 - lost] < MUCH_MORE:
        return None
    answer, other = (each.strip() for each in bridge(DEMO).to_str_tokens([target, foil]))
    return Situation(
        selection=selected(head(LAYER, heads[lost]), query, text.prompt, (cuts[lost],)),
        text=text.prompt,
        values={
            "layer": LAYER,
            "first": heads[0],
            "second": heads[1],
            "token": text.words[text.fact],
            "first_M": M[0],
            "second_M": M[1],
            "first_adds": added[0],
            "second_adds": added[1],
            "answer": answer,
            "other": other,
            "whole": float(before.probability(-1, target)),
            "of_first": left[0],
            "of_second": left[1],
        },
        right=lost,
    )


NONE = "none"
CUTS = tuple(f"{LAYER}.{index}" for index in HEADS)

WORDS = Words(
    title="From M to the answer",
    text=(
        "In layer {layer}, heads {first} and {second} both read `{key}` most where the model must answer. We "
        "cut that cell in one head, leave the rest, and run the model again."
    ),
    question="Without which cell does the model no longer answer `{answer}`?",
    choices=(
        "That of head {first}",
        "That of head {second}",
        "Either: both are dark",
        "Neither: one makes up for the other",
    ),
    live=(
        "The probability of `{answer}` is {whole:.2%}. Without the cell of head {first} it is "
        "{of_first:.2%}, without that of head {second} {of_second:.2%}."
    ),
    meaning=(
        "After M come the skip, a gate, a norm, other heads and layers. M shows what a head *can* pass on. "
        "**Attention is not explanation.**"
    ),
    task="Cut the cell in each of the two heads, and watch the answer.",
    control="Cut in",
    labels={
        "probability": "probability",
        "row": "M, head {head}",
        NONE: "no head",
        **{cut: f"head {index}" for cut, index in zip(CUTS, HEADS, strict=True)},
    },
    alts={
        "row_2": "Last row of M of head {first} of layer {layer}: darkest at {key}.",
        "row_0": "Last row of M of head {second} of layer {layer}: darkest at {second_key}.",
        "answers": "What the model answers with the cell cut in {cut}: {likeliest}, with probability "
        "{probability:.1%}.",
    },
    check=(
        "At the end, M of `{token}` is {first_M:.1f} in head {first} of layer {layer}, {second_M:.1f} in "
        "head {second}. Past gate and norm, this adds {first_adds:+z.1f} and {second_adds:+z.1f} to the "
        "logit of `{answer}` over `{other}`. Without which cell is the answer lost?"
    ),
    check_choices=(
        "That of head {first}",
        "That of head {second}",
        "Either: both are dark",
        "Neither: one makes up for the other",
    ),
    check_why=(
        "The probability of `{answer}`, {whole:.1%}, becomes {of_first:.1%} or {of_second:.1%}. M alone does "
        "not tell."
    ),
)

LESSON = Lesson(
    name="to_the_answer",
    number=7,
    words=WORDS,
    control=Control((NONE, *CUTS), NONE),
    asked=NONE,
    scene=scene,
    right=right,
    situation=situation,
    goals=frozenset(CUTS),
)
