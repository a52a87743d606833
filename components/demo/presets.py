"""The prompts the explorer opens with, and where in the embedded model to look at them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A prompt with a layer, head and query position that show a mechanism at first sight."""

    name: str
    prompt: str
    look_for: str
    """One or two sentences, true of M in the embedded model, for someone new to the mechanism."""
    layer: int
    head: int
    query: int
    """Position of the row to show: the last one, whose next token is the answer."""
    other: str
    """The prompt with other facts and another answer, of as many tokens in the embedded model."""
    names_head: bool = False
    """Whether the name says what the head does; if not, it says what the text is."""


PRESETS: tuple[Preset, ...] = (
    Preset(
        name="Where is Mia?",
        prompt=(
            "Leo is in the garden. Mia is in the kitchen. Ben is in the library. Eva is in the tower. "
            "Where is Mia? In the"
        ),
        look_for=(
            "The last row jumps back over two sentences to the word kitchen, which is the answer. So does "
            "that of head 0, and the answer hangs on that one: what is read is not yet what is used."
        ),
        layer=2,
        head=2,
        query=29,
        other=(
            "Leo is in the garden. Mia is in the tower. Ben is in the library. Eva is in the kitchen. "
            "Where is Mia? In the"
        ),
    ),
    Preset(
        name="Copy a list",
        prompt=(
            "Words: bottle ladder puzzle shoe mirror bread lemon drum. "
            "Again: bottle ladder puzzle shoe mirror"
        ),
        look_for=(
            "Each row of the copy reads the word that came next in the list, so a diagonal stripe appears."
        ),
        layer=2,
        head=0,
        query=17,
        other=(
            "Words: bottle ladder puzzle shoe mirror lemon bread drum. "
            "Again: bottle ladder puzzle shoe mirror"
        ),
    ),
    Preset(
        name="A short story",
        prompt=(
            "Ana had a red kite. Tom found a blue drum. It was a warm day. Tom went to the harbour. "
            "Ana sat by the old tree. The birds sang. What did Ana have? A"
        ),
        look_for="The last row passes over five sentences and reads the colour of what Ana had.",
        layer=2,
        head=2,
        query=40,
        other=(
            "Ana had a blue kite. Tom found a red drum. It was a warm day. Tom went to the harbour. "
            "Ana sat by the old tree. The birds sang. What did Ana have? A"
        ),
    ),
    Preset(
        name="A short memory",
        prompt=(
            "Max is in the attic. Nora has the candle. The wind blew softly. Otto is in the cave. "
            "What does Nora have? The"
        ),
        look_for="This head forgets within its sentence: only the cells near the diagonal are dark.",
        layer=2,
        head=7,
        query=27,
        other=(
            "Max is in the attic. Nora has the key. The wind blew softly. Otto is in the cave. "
            "What does Nora have? The"
        ),
        names_head=True,
    ),
)
