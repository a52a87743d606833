"""Writes the demo corpus: lists to recall from, small stories, passages to copy. No outside text.

An episode is a string in which two marks set how much a word counts in training: `~` stands before a
word nobody could predict (a name drawn at random), `^` before an answer that only memory can give. `parse`
removes the marks before a word reaches the model.

Some pairs (a name and a location, a key and a value, ...) are held out: training text never states them
together, and the evaluation asks about nothing else. A fixed hash decides which pairs.
"""

import functools
import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from components.demo.vocabulary import ANIMALS, COLOURS, LIST_WORDS, NAMES, PLACES, THINGS, VALUES

HELD_OUT_ONE_IN = 8

_TOKEN = re.compile(r"( ?)([~^]?)([A-Za-z]+|[.,:?!]|\n)")

_SCENERY = (
    "It was a warm day.",
    "It was a cold day.",
    "The day was sunny.",
    "The birds sang.",
    "The wind blew softly.",
    "Rain fell outside.",
    "It was quiet.",
    "They talked about the weather.",
    "They looked at the sky.",
    "They rested for a long time.",
    "Everyone was happy.",
    "Then they smiled.",
)
_DOINGS = (
    "~{name} went to the ~{place}.",
    "~{name} sat by the old tree.",
    "~{name} looked at the door.",
    "~{name} said hello to ~{other}.",
    "~{name} and ~{other} went for a walk.",
    "Then ~{name} smiled.",
)


def is_held_out(left: str, right: str) -> bool:
    """Whether the pair (left, right) is kept out of the training text."""
    return zlib.crc32(f"{left}|{right}".encode()) % HELD_OUT_ONE_IN == 0


class CannotWriteError(Exception):
    """The names drawn so far leave no way to write the episode; draw others."""


@dataclass(frozen=True)
class Word:
    """One token of an episode: its text with any leading space, and its mark ('', '~' or '^')."""

    text: str
    mark: str


def parse(episode: str) -> list[Word]:
    """The words of a marked episode. Joined, their texts are the episode as the model reads it."""
    return [Word(space + word, mark) for space, mark, word in _TOKEN.findall(episode)]


class Cast:
    """Hands out names and other keys, none twice, so that a text states each key's fact only once."""

    def __init__(self, rng: random.Random) -> None:
        self._names = rng.sample(NAMES, len(NAMES))
        self._animals = rng.sample(ANIMALS, len(ANIMALS))

    def people(self, count: int) -> list[str]:
        """`count` fresh names. Raises CannotWriteError when fewer are left."""
        if count > len(self._names):
            raise CannotWriteError
        return [self._names.pop() for _ in range(count)]

    def keys(self, rng: random.Random, count: int) -> list[str]:
        """`count` fresh keys, names and animals mixed. Raises CannotWriteError when fewer are left."""
        animals = min(sum(rng.random() < 0.4 for _ in range(count)), len(self._animals))
        keys = self.people(count - animals) + [self._animals.pop() for _ in range(animals)]
        return rng.sample(keys, count)


def _partners(rng: random.Random, keys: Sequence[str], values: Sequence[str], held_out: bool) -> list[str]:
    """One value per key, all different, each pair on the wanted side of the split."""
    chosen: list[str] = []
    for key in keys:
        free = [value for value in values if value not in chosen and is_held_out(key, value) == held_out]
        if not free:
            raise CannotWriteError
        chosen.append(rng.choice(free))
    return chosen


def _facts_then_questions(rng: random.Random, facts: Sequence[str], questions: Sequence[str]) -> str:
    """Facts, then questions about at least half of them, as running text or line by line."""
    asked = rng.sample(questions, rng.randint((len(questions) + 1) // 2, len(questions)))
    return ("\n" if rng.random() < 0.25 else " ").join([*facts, *asked])


def _with_scenery(rng: random.Random, facts: Sequence[str]) -> list[str]:
    """The facts, now and then with a sentence about something else between them."""
    lines: list[str] = []
    for fact in facts:
        lines.append(fact)
        if rng.random() < 0.05:
            lines.append(rng.choice(_SCENERY))
    return lines


def pairs(rng: random.Random, cast: Cast, count: int, held_out: bool = False) -> str:
    """Write `count` pairs: "Mia: key. Leo: map. Mia: key."."""
    keys = cast.keys(rng, count)
    values = _partners(rng, keys, VALUES, held_out)
    facts = [f"~{key}: ~{value}." for key, value in zip(keys, values, strict=True)]
    questions = [f"~{key}: ^{value}." for key, value in zip(keys, values, strict=True)]
    return _facts_then_questions(rng, facts, questions)


def _possessions(rng: random.Random, names: Sequence[str], held_out: bool) -> tuple[list[str], list[str]]:
    """A fact for each name, "Mia has the key.", and the question about each."""
    owned = list(zip(names, _partners(rng, names, THINGS, held_out), strict=True))
    facts = [f"~{name} has the ~{thing}." for name, thing in owned]
    return facts, [f"What does ~{name} have? The ^{thing}." for name, thing in owned]


def _whereabouts(rng: random.Random, names: Sequence[str], held_out: bool) -> tuple[list[str], list[str]]:
    """A fact for each name, "Mia is in the kitchen.", and the question about each."""
    found = list(zip(names, _partners(rng, names, PLACES, held_out), strict=True))
    facts = [f"~{name} is in the ~{place}." for name, place in found]
    return facts, [f"Where is ~{name}? In the ^{place}." for name, place in found]


def possessions(rng: random.Random, cast: Cast, count: int, held_out: bool = False) -> str:
    """What `count` people have: "Mia has the key. Leo has the map. What does Mia have? The key."."""
    facts, questions = _possessions(rng, cast.people(count), held_out)
    return _facts_then_questions(rng, _with_scenery(rng, facts), questions)


def whereabouts(rng: random.Random, cast: Cast, count: int, held_out: bool = False) -> str:
    """Where `count` people are: "Mia is in the barn. Leo is in the hall. Where is Mia? In the barn."."""
    facts, questions = _whereabouts(rng, cast.people(count), held_out)
    return _facts_then_questions(rng, _with_scenery(rng, facts), questions)


def inventory(rng: random.Random, cast: Cast, count: int, held_out: bool = False) -> str:
    """Possessions and whereabouts of the same `count` people, mixed."""
    names = cast.people(count)
    things, of_things = _possessions(rng, names, held_out)
    places, of_places = _whereabouts(rng, names, held_out)
    facts = rng.sample(things + places, 2 * count)
    return _facts_then_questions(rng, _with_scenery(rng, facts), of_things + of_places)


def copied_list(rng: random.Random, length: int) -> str:
    """A list of `length` different words and its copy: "Words: lamp key bread. Again: lamp key bread.".

    The copied first word cannot be looked up by the word before it, so it does not count as an answer.
    """
    words = rng.sample(LIST_WORDS, length)
    original = " ".join(f"~{word}" for word in words)
    copy = " ".join([f"~{words[0]}", *(f"^{word}" for word in words[1:])])
    return f"Words: {original}. Again: {copy}."


def story(rng: random.Random, cast: Cast, people: int, others: int, held_out: bool = False) -> str:
    """At least two people who had or found a coloured thing, `others` further sentences, questions."""
    names = cast.people(people)
    colours, things = list(COLOURS), list(THINGS)
    sentences, questions = [], []
    for name in names:
        colour, thing = rng.choice(
            [(c, t) for c in colours for t in things if _owning_is_held_out(name, c, t) == held_out]
        )
        colours.remove(colour)
        things.remove(thing)
        past, present = rng.choice((("had", "have"), ("found", "find")))
        sentences.append(f"~{name} {past} a ~{colour} ~{thing}.")
        questions.append(f"What did ~{name} {present}? A ^{colour} ^{thing}.")
    for _ in range(others):
        # Never first: a story opens with a person.
        sentences.insert(rng.randint(1, len(sentences)), _incident(rng, names))
    return " ".join(sentences + rng.sample(questions, len(questions)))


@functools.cache  # every story asks it about every colour with every thing
def _owning_is_held_out(name: str, colour: str, thing: str) -> bool:
    """Whether the three together, or one of the pairs that other forms of text could state, are held out."""
    return any(is_held_out(name, value) for value in (f"{colour} {thing}", colour, thing))


def _incident(rng: random.Random, names: Sequence[str]) -> str:
    """One sentence of a story that states none of the asked facts."""
    if rng.random() < 0.5:
        return rng.choice(_SCENERY)
    name = rng.choice(names)
    place = rng.choice([place for place in PLACES if not is_held_out(name, place)])
    other = rng.choice([other for other in names if other != name])
    return rng.choice(_DOINGS).format(name=name, place=place, other=other)


def training_episode(rng: random.Random, cast: Cast, largest: int, near: bool) -> str:
    """One episode of the training mix; a list has at most `largest` (2 to 8) facts, an inventory one more.

    With `near` it has a form in which a value stands three tokens after its key, so that the four-token
    convolution covers both just once: a model that starts on these learns to read a fact at its value,
    instead of at the full stop after it.
    """
    count = rng.randint(1, largest)
    near_forms: tuple[tuple[float, Callable[[], str]], ...] = (
        (0.10, lambda: possessions(rng, cast, count)),
        (0.20, lambda: story(rng, cast, rng.randint(2, 3), rng.randint(2, 7))),
    )
    forms = (
        near_forms
        if near
        else (
            *near_forms,
            (0.34, lambda: whereabouts(rng, cast, count)),
            (0.14, lambda: pairs(rng, cast, count)),
            (0.08, lambda: inventory(rng, cast, (count + 1) // 2)),
            (0.14, lambda: copied_list(rng, rng.randint(4, 14))),
        )
    )
    write = rng.choices([form for _, form in forms], weights=[share for share, _ in forms])[0]
    return write()


def training_text(rng: random.Random, tokens: int, largest: int, near: bool) -> list[Word]:
    """Episodes, one per line, cut at `tokens` words; `largest` and `near` as for one episode."""
    cast = Cast(rng)
    words: list[Word] = []
    while len(words) < tokens:
        try:
            episode = training_episode(rng, cast, largest, near)
        except CannotWriteError:  # the cast has run out of names
            episode = copied_list(rng, 12)
        words += parse(episode + "\n")
    return words[:tokens]
