import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.charts.spans import Spans, in_words, spans_of

STORY = Spans(length=1200, word=1.25, sentence=20.0, paragraph=120.0)
LINE = Spans(length=20, word=1.25, sentence=20.0, paragraph=20.0)
CHINESE = Spans(length=80, word=80.0, sentence=20.0, paragraph=80.0)


def tokens_of(text: str) -> list[str]:
    """Words with the blanks before them, and every other character alone."""
    return re.findall(r"\s*\w+|\s*[^\w\s]|\s+", text)


def parts(text: str) -> tuple[int, int, int]:
    """Numbers of words, sentences and paragraphs."""
    spans = spans_of(tokens_of(text))
    words, sentences, paragraphs = (
        round(spans.length / mean) for mean in (spans.word, spans.sentence, spans.paragraph)
    )
    return words, sentences, paragraphs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mia", (1, 1, 1)),
        ("Mia has the map", (4, 1, 1)),
        ("Mia has the key. Leo has", (6, 2, 1)),
        ("Mia has the key.\n\n", (4, 1, 1)),
        ("Who? Me?! Oh… Well... yes", (5, 5, 1)),
        ('"Run!" he said. (They ran.)', (5, 3, 1)),
        ("Pi is 3.14, see a.b.c or x!=y", (7, 1, 1)),
        ("- one\n- two\n- three", (3, 1, 3)),
        ("A title\n\nOne line\nand its end. Two.\n \nThree.", (9, 4, 3)),
        ("A title\r\n\r\nOne.\r\n\r\n\r\nTwo.", (4, 3, 3)),
        ("**Bold.** Plain -- and so _on_.", (5, 2, 1)),
        ("猫在房子里。狗呢？！在花园里。", (1, 3, 1)),
        ("猫说：「你好。」狗走了", (1, 2, 1)),
    ],
)
def test_counts_words_sentences_and_paragraphs(text: str, expected: tuple[int, int, int]) -> None:
    assert parts(text) == expected


@pytest.mark.parametrize("tokens", [[], ["\n", "\n"], [" ...", " ?!", "\n\n", "---"]])
def test_a_text_without_words_has_no_parts(tokens: list[str]) -> None:
    assert spans_of(tokens) == Spans(len(tokens), math.inf, math.inf, math.inf)


def test_means_do_not_depend_on_where_tokens_are_cut() -> None:
    text = "Mia has the key. Leo has the map.\n\nWho has the lamp?"
    assert spans_of(list(text)) == Spans(len(text), len(text) / 12, len(text) / 3, len(text) / 2)


@pytest.mark.parametrize(
    "pattern", [" word", " a.", ".", "\n", "\n ", '."', "?)", "a\n", "-", "。", "a\n\n", "\n\ta", "… "]
)
def test_the_time_is_linear_whatever_the_text(pattern: str) -> None:
    def seconds(length: int) -> float:
        """Of this process alone, whatever else the machine does."""
        texts = [*pattern] * (length // len(pattern)) + ["x"], [pattern[0], *[pattern[-1]] * length, "x"]
        took = []
        for _ in range(3):
            start = time.process_time()
            for text in texts:
                spans_of(text)
            took.append(time.process_time() - start)
        return min(took)

    assert seconds(32_768) < 32 * seconds(4_096)  # linear, it is 8; quadratic, it is 64


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0.5, "less than a word"),
        (1.25, "about a word"),
        (3.9, "about three words"),
        (10.0, "about half a sentence"),
        (19.0, "about a sentence"),
        (31.0, "about one and a half sentences"),
        (41.0, "about two sentences"),
        (80.0, "about four sentences"),
        (120.0, "about a paragraph"),
        (360.0, "about three paragraphs"),
        (1060.0, "about nine paragraphs"),
        (1200.0, "about as long as the text"),
        (1800.0, "longer than the text"),
        (9999.0, "far longer than the text"),
        (math.inf, "for ever"),
        (math.nan, ""),
    ],
)
def test_a_span_is_told_in_the_largest_unit_that_it_holds(tokens: float, expected: str) -> None:
    assert in_words(tokens, STORY) == expected


@pytest.mark.parametrize(
    ("spans", "tokens", "expected"),
    [
        # One sentence is not there twice, so it is told in words.
        (LINE, 10.0, "about eight words"),
        (LINE, 17.0, "about 14 words"),
        # Numbers that nobody counts to are rounded, and half of the text is said as such.
        (Spans(100_000, 1.25, 25.0, 100_000.0), 1_000.0, "about 40 sentences"),
        (Spans(100_000, 1.25, 25.0, 100_000.0), 31_234.0, "about 1,200 sentences"),
        (Spans(100_000, 1.25, 25.0, 100_000.0), 49_000.0, "about half of the text"),
        (STORY, 600.0, "about five paragraphs"),
        # Half of five words is two words; a paragraph of one sentence is that sentence.
        (Spans(60, 1.0, 5.0, 60.0), 2.5, "about two words"),
        (Spans(200, 1.25, 20.0, 22.0), 44.0, "about two sentences"),
        # A script without blanks has no words to count.
        (CHINESE, 41.0, "about two sentences"),
        (CHINESE, 9.0, "about half a sentence"),
        (CHINESE, 2.0, "less than half a sentence"),
        (Spans(30, 30.0, 30.0, 30.0), 14.0, "about half of the text"),
        (Spans(30, 30.0, 30.0, 30.0), 2.0, "less than half of the text"),
        (Spans(30, 30.0, 30.0, 30.0), 20.0, "more than half of the text"),
        (Spans(10, 10.0, 10.0, 10.0), 3.0, "less than half of the text"),
        # A text of one token, and of none.
        (Spans(1, 1.0, 1.0, 1.0), 1.0, "about as long as the text"),
        (Spans(0, math.inf, math.inf, math.inf), 5.0, "far longer than the text"),
    ],
)
def test_a_unit_has_to_be_one_for_the_reader(spans: Spans, tokens: float, expected: str) -> None:
    assert in_words(tokens, spans) == expected


SIZES = {"word": STORY.word, "sentence": STORY.sentence, "paragraph": STORY.paragraph, "text": STORY.length}
NUMBERS = {
    "half a": 0.5, "half of the": 0.5, "a": 1.0, "one and a half": 1.5, "two": 2.0, "three": 3.0, "four": 4.0,
    "five": 5.0, "six": 6.0, "seven": 7.0, "eight": 8.0, "nine": 9.0, "ten": 10.0, "eleven": 11.0,
}  # fmt: skip


def told_tokens(words: str) -> float:
    """What "about three words" says in tokens."""
    found = re.fullmatch(r"about (.+) (word|sentence|paragraph|text)(s?)", words)
    assert found, words
    count, unit, plural = found.groups()
    assert bool(plural) == (count not in {"a", "half a", "half of the"}), words
    return (NUMBERS[count] if count in NUMBERS else float(count.replace(",", ""))) * SIZES[unit]


@given(st.floats(1.0, 1070.0), st.floats(1.0, 1070.0))
def test_words_agree_with_the_number_and_grow_with_it(one: float, other: float) -> None:
    less, more = sorted([one, other])
    assert told_tokens(in_words(less, STORY)) == pytest.approx(less, rel=0.35)
    assert told_tokens(in_words(less, STORY)) <= told_tokens(in_words(more, STORY))


@given(st.text("aé1 .。?\n\t\"-'", max_size=60), st.floats(0.0, 200.0))
def test_every_text_has_an_answer(text: str, tokens: float) -> None:
    spans = spans_of(tokens_of(text))
    assert re.match("about|less than|more than|longer than|far longer than", in_words(tokens, spans))


def test_bytes_of_cut_characters_are_no_words() -> None:
    cut = ["one", " <0xF0>", "<0x9F>", "<0x98>", "😀", " two", "."]
    assert spans_of(cut).word == spans_of(["one", " 😀", *[""] * 3, " two", "."]).word
