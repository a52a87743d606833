"""The corpus: the same text for the same seed, and never a held-out pair."""

import itertools
import random
import re

import pytest

from components.demo import COPY, PAIRS, STORY, WHERE, Task, corpus, questions
from components.demo.vocabulary import MARKS, NAMES, PLACES, everyday_words

STATEMENTS = {
    "place": re.compile(r"(\w+) is in the (\w+)"),
    "visit": re.compile(r"(\w+) went to the (\w+)"),
    "thing": re.compile(r"(\w+) has the (\w+)"),
    "value": re.compile(r"(\w+): (\w+)"),
    "coloured thing": re.compile(r"(\w+) (?:had|found) a (\w+ \w+)"),
}


def _texts(count: int) -> list[str]:
    """Training texts of every stage: short and long lists, some near forms only."""
    rng = random.Random("training-test")
    texts = [corpus.training_text(rng, 192, largest=2 + i % 7, near=i % 5 == 0) for i in range(count)]
    return ["".join(word.text for word in text) for text in texts]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return _texts(1_600)


def test_the_seed_decides_the_text(texts: list[str]) -> None:
    assert _texts(20) == texts[:20]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("kind", STATEMENTS)
def test_training_text_never_states_a_held_out_pair(texts: list[str], kind: str) -> None:
    stated = {
        (left, right)
        for text in texts
        for left, right in STATEMENTS[kind].findall(text)
        if left not in ("Words", "Again")  # "Words: lamp key" opens a list to copy
    }
    assert len(stated) > 400
    assert [pair for pair in stated if corpus.is_held_out(*pair)] == []


def test_a_coloured_thing_does_not_give_its_parts_away(texts: list[str]) -> None:
    stated = {match for text in texts for match in STATEMENTS["coloured thing"].findall(text)}
    parts = [(name, part) for name, coloured in stated for part in coloured.split()]
    assert len(parts) > 800
    assert [pair for pair in parts if corpus.is_held_out(*pair)] == []


def test_only_held_out_pairs_of_names_and_places_are_missing_from_the_training_text(texts: list[str]) -> None:
    stated = {match for text in texts for match in STATEMENTS["place"].findall(text)}
    everyone = set(itertools.product(NAMES, PLACES))
    assert everyone - stated == {pair for pair in everyone if corpus.is_held_out(*pair)}
    assert 0.08 < len(everyone - stated) / len(everyone) < 0.17


def test_training_text_uses_exactly_the_everyday_words(texts: list[str]) -> None:
    used = {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}
    assert used == set(everyday_words())
    assert set("".join(texts)) - set("".join(used)) <= {*MARKS, " ", "\n"}


def test_a_text_states_one_fact_per_key(texts: list[str]) -> None:
    stated = [STATEMENTS["place"].findall(text) for text in texts]
    assert sum(map(len, stated)) > 4_000
    assert all(len({name for name, _ in facts}) == len(facts) for facts in stated)


def test_marks_stand_before_what_cannot_be_predicted_and_before_answers() -> None:
    rng = random.Random(3)
    words = corpus.parse(corpus.whereabouts(rng, corpus.Cast(rng), 4))
    text = "".join(word.text for word in words)
    places = dict(STATEMENTS["place"].findall(text))
    asked = re.findall(r"Where is (\w+)\? In the (\w+)", text)
    assert asked
    assert all(places[name] == place for name, place in asked)
    assert [word.text.strip() for word in words if word.mark == "^"] == [place for _, place in asked]
    assert {word.text.strip() for word in words if word.mark == "~"} == {*places, *places.values()}


@pytest.mark.parametrize(
    ("task", "kind"),
    [(WHERE, "place"), (PAIRS, "value"), (STORY, "coloured thing")],
    ids=["where", "pairs", "story"],
)
def test_the_evaluation_asks_about_held_out_pairs_only(task: Task, kind: str) -> None:
    for question in questions(task, 100):
        answer = question.text.split()[-question.answer_tokens :]
        facts = [(k, v) for k, v in STATEMENTS[kind].findall(question.text) if v.split() == answer]
        assert facts
        assert question.words[question.fact].strip() == answer[0]
        assert question.fact < question.query
        # The parts of a coloured thing count as well: training leaves out the three together and every two.
        assert any(corpus.is_held_out(k, part) for k, v in facts for part in (v, *v.split()))


def test_the_evaluation_copies_lists_of_twelve_from_the_fifth_word_on() -> None:
    places = set()
    for question in questions(COPY, 100):
        original, copied = question.text.removeprefix("Words: ").split(". Again: ")
        assert len(set(original.split())) == 12
        assert copied.split() == original.split()[: len(copied.split())]
        places.add(len(copied.split()))
    assert places == set(range(5, 13))


def test_a_story_is_asked_after_at_least_three_other_sentences() -> None:
    for question in questions(STORY, 100):
        told, _ = question.text.split(" What did ")
        answer = " ".join(question.text.split()[-2:])
        assert len(told.split(answer + ".")[1].strip().split(". ")) >= 3


def test_near_texts_hold_possessions_and_stories_only() -> None:
    rng = random.Random(5)
    near = "".join(word.text for _ in range(100) for word in corpus.training_text(rng, 192, 8, near=True))
    assert STATEMENTS["thing"].search(near)
    assert STATEMENTS["coloured thing"].search(near)
    assert not STATEMENTS["place"].search(near)
    assert ":" not in near
