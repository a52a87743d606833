"""Asks the demo model about combinations it was never trained on and counts its greedy answers.

    python -m components.demo.evaluate
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from components.demo import MODEL_FOLDER, corpus

SEED = "evaluation"  # training seeds are "training-<step>", so no text is shared by way of its seed
LIST_LENGTH = 12
FIRST_COPIED_WORD = 5


@dataclass(frozen=True)
class Question:
    """A text that ends with the expected answer, and how many of its last tokens have to be predicted."""

    text: str
    answer_tokens: int


@dataclass(frozen=True)
class Task:
    """One row of the table: how to pose a question, and the share of answers that must be right."""

    name: str
    pose: Callable[[random.Random], Question]
    at_least: float


def _where(rng: random.Random) -> Question:
    return _first_question(
        _written(lambda: corpus.whereabouts(rng, corpus.Cast(rng), rng.randint(3, 8), held_out=True))
    )


def _pair(rng: random.Random) -> Question:
    return _first_question(_written(lambda: corpus.pairs(rng, corpus.Cast(rng), rng.randint(3, 8), held_out=True)))


def _copy(rng: random.Random) -> Question:
    """One word of the copy, from the fifth on, with the words before it already copied."""
    words = corpus.parse(corpus.copied_list(rng, LIST_LENGTH))
    end = len(words) - 1 - rng.randint(0, LIST_LENGTH - FIRST_COPIED_WORD)  # the last word is the full stop
    return Question("".join(word.text for word in words[:end]), answer_tokens=1)


def _story(rng: random.Random) -> Question:
    """The first question of a story whose answer lies at least three sentences back."""
    while True:
        question = _first_question(
            corpus.story(rng, corpus.Cast(rng), rng.randint(2, 3), rng.randint(3, 7), held_out=True)
        )
        *sentences, asked = question.text.split(". ")
        fact = next(i for i, sentence in enumerate(sentences) if sentence.endswith(" ".join(asked.split()[-2:])))
        if len(sentences) - 1 - fact >= 3:
            return question


def _written(write: Callable[[], str]) -> str:
    """The first episode that can be written: a few names have too few held-out partners."""
    while True:
        try:
            return write()
        except corpus.CannotWrite:
            continue


def _first_question(episode: str) -> Question:
    """The episode up to and including its first answer."""
    words = corpus.parse(episode)
    start = next(i for i, word in enumerate(words) if word.mark == "^")
    end = next(i for i in range(start, len(words) + 1) if i == len(words) or words[i].mark != "^")
    return Question("".join(word.text for word in words[:end]), answer_tokens=end - start)


TASKS = (
    Task("X is in the P … Where is X? In the → P", _where, 0.95),
    Task("X: V … X: → V", _pair, 0.95),
    Task("copying 12 words, from the 5th on", _copy, 0.95),
    Task("story: colour and thing, 3+ sentences later", _story, 0.90),
)


@torch.no_grad()
def accuracy(
    logits_of: Callable[[Tensor], Tensor],
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    questions: int,
    batch: int = 50,
) -> float:
    """Share of questions whose every answer token is the model's most likely next token.

    `logits_of` maps token ids [batch, seq] to logits [batch, seq, vocab]. Texts are padded on the right,
    where a causal model cannot see the padding.
    """
    rng = random.Random(f"{SEED}-{task.name}")
    posed = [task.pose(rng) for _ in range(questions)]
    right = 0
    for first in range(0, questions, batch):
        part = posed[first : first + batch]
        rows = [tokenizer.encode(question.text) for question in part]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        best = logits_of(ids).argmax(-1).tolist()
        for question, row, guesses in zip(part, rows, best, strict=True):
            end, answer = len(row), question.answer_tokens
            right += guesses[end - answer - 1 : end - 1] == row[end - answer :]
    return right / questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--questions", type=int, default=1000, help="per task")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model)
    print(f"{'task':45} {'right':>7} {'needed':>7}   ({arguments.questions} held-out questions each)")
    for task in TASKS:
        share = accuracy(lambda ids: model(ids).logits, tokenizer, task, arguments.questions)
        print(f"{task.name:45} {share:7.1%} {task.at_least:7.0%}")


if __name__ == "__main__":
    main()
