"""Before the scan: a convolution. Column j is not token j."""

import random
from collections.abc import Mapping

from components.charts import token_bars_chart
from components.demo import LIST_WORDS, copied
from components.models import DEMO
from explorer.lessons.lesson import DONE, Lesson, Option, Scene, Situation, Words
from explorer.lessons.live import HEIGHT, PROMPT, head, place, selected, terms_of, token_control, words_of
from explorer.lessons.texts import text_of
from explorer.models import bridge

HEAD = head(0, 0)
SWAPS = {4: "cave", 10: "attic", 16: "barn", 22: "cellar", 29: "a"}
"""Another word for some tokens of the text."""
ASKED = 10
CHANGED = 1e-6
"""B that differs by more, as a part of its norm, has changed."""


def swapped(position: int) -> str:
    """The text with another word at a position."""
    words = words_of()
    return text_of([*words[:position], SWAPS[position], *words[position + 1 :]])


def scene(option: Option, revealed: bool, labels: Mapping[str, str]) -> Scene:
    """How large B of the first layer is at every token; after the answer, how much a swap changes it."""
    at, words = int(option), words_of()
    B, other = (terms_of(HEAD, text).B[0, :, 0] for text in (PROMPT, swapped(at)))
    change = (other - B).norm(dim=-1) / B.norm(dim=-1)
    changed = [i for i, part in enumerate(change.tolist()) if part > CHANGED]
    name, sizes = ("change", change) if revealed else ("norm", B.norm(dim=-1))
    return Scene(
        selection=selected(HEAD, at),
        figures={name: token_bars_chart(words, sizes.numpy(), labels[name], marked=at, height=HEIGHT)},
        values={
            "at": at,
            "token": words[at],
            "swap": SWAPS[at],
            "kernel": bridge(DEMO).blocks[0].mixer.kernel,
            "earlier": bridge(DEMO).blocks[0].mixer.kernel - 1,
            "later": len(words) - at,
            "count": len(changed),
            "first": place(words, changed[0]),
            "last": place(words, changed[-1]),
            "largest": place(words, int(change.argmax())),
        },
        reached=frozenset({DONE} if len(changed) == 1 else ()),
    )


def right() -> int:
    """Whether one column changes, as many as the convolution mixes, or all later ones."""
    asked = scene(ASKED, True, WORDS.labels)
    return [1, int(asked.values["kernel"]), int(asked.values["later"])].index(int(asked.values["count"]))


def situation(rng: random.Random) -> Situation | None:
    """How many columns of the first layer change when a word of a list becomes another."""
    words = [word.strip() for word in copied(rng, rng.randint(8, 10)).words[:-1]]
    kernel = bridge(DEMO).blocks[0].mixer.kernel
    later = rng.choice((*range(2, kernel), rng.randint(kernel + 2, len(words) - 3)))
    at = len(words) - later
    if words[at] not in LIST_WORDS:
        return None
    other = rng.choice([word for word in LIST_WORDS if word not in words])
    text, changed = (text_of(each) for each in (words, [*words[:at], other, *words[at + 1 :]]))
    B, other_B = (terms_of(HEAD, each).B[0, :, 0] for each in (text, changed))
    change = (other_B - B).norm(dim=-1) / B.norm(dim=-1)
    count = int((change > CHANGED).sum())
    return Situation(
        selection=selected(HEAD, at, text),
        text=text,
        values={
            "token": place(words, at),
            "swap": other,
            "last": place(words, len(words) - 1),
            "kernel": kernel,
            "earlier": kernel - 1,
            "later": later,
        },
        right=[1, kernel, later].index(count),
    )


WORDS = Words(
    title="Before the scan",
    text=(
        "A column of M is named after a token. But B does not see the token alone: a short **convolution** "
        "runs first. The bars show how large B is at each token, in the first layer."
    ),
    question="We write `{swap}` instead of `{token}`. At how many tokens does B of the first layer change?",
    choices=(
        "At 1: only there",
        "At {kernel}: there and at the next {earlier}",
        "At all {later} from there on",
    ),
    live="With `{swap}` for `{token}`, B changes from `{first}` to `{last}`, most at `{largest}`.",
    meaning=(
        "The convolution mixes each token with the {earlier} before it. Column j is not token j alone, and "
        "what a token says also arrives later."
    ),
    task="Find a token whose swap changes a single column.",
    control="Swap",
    labels={"norm": "size of B", "change": "change of B"},
    alts={
        "norm": "Size of B at each token, in the first layer.",
        "change": "Change of B when token {at} {token} becomes {swap}: from {first} to {last}, most at "
        "{largest}.",
    },
    check=(
        "We write `{swap}` instead of `{token}`. The last token is `{last}`. At how many tokens does B of "
        "the first layer change?"
    ),
    check_choices=("At 1", "At {kernel}", "At {later}"),
    check_why=(
        "The convolution brings a token to itself and the next {earlier}, as far as there are any: from "
        "`{token}` on there are {later}."
    ),
)

LESSON = Lesson(
    name="convolution",
    number=6,
    words=WORDS,
    control=token_control(ASKED, tuple(SWAPS)),
    asked=ASKED,
    scene=scene,
    right=right,
    situation=situation,
)
