"""The committed tokenizer: any text comes back, and everyday words are one token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from components.demo.tokenizer import build_tokenizer
from components.demo.vocabulary import MARKS, everyday_words, one_token_texts

ANY_TEXT = st.text(st.characters(codec="utf-8"))
CORPUS_LIKE = st.lists(
    st.sampled_from([*everyday_words(), *MARKS, " ", "  ", "\n", "'", "Ł", "漢", "🙂"]), max_size=20
)


@given(text=ANY_TEXT | CORPUS_LIKE.map("".join))
def test_any_text_comes_back_exactly(demo_tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert demo_tokenizer.decode(demo_tokenizer.encode(text)) == text


def test_every_everyday_word_is_one_token(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    forms = one_token_texts()
    assert {"Mia", " Mia", "kitchen", " kitchen", "Where", ".", "\n"} <= set(forms)
    assert len(forms) > 300
    assert [form for form in forms if len(demo_tokenizer.encode(form)) != 1] == []


def test_words_stay_one_token_inside_a_text(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = demo_tokenizer.encode("Mia is in the kitchen.\nWhere is Mia? In the")
    assert [demo_tokenizer.decode([i]) for i in ids] == [
        *("Mia", " is", " in", " the", " kitchen", ".", "\n"),
        *("Where", " is", " Mia", "?", " In", " the"),
    ]


@pytest.mark.parametrize("text", ["Mia: key. Leo: map.", "Zoë’s naïve café costs 3€\t🙂"])
def test_the_committed_tokenizer_is_the_one_the_script_builds(
    demo_tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    built = build_tokenizer()
    assert built.get_vocab() == demo_tokenizer.get_vocab()
    assert built.encode(text) == demo_tokenizer.encode(text)
