"""Asks the demo model about combinations it was never trained on and counts correct greedy answers.

python -m components.demo.evaluate
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from components.demo import MODEL_FOLDER, TASKS, Question, questions


@torch.no_grad()
def accuracy(
    logits_of: Callable[[Int[Tensor, "batch seq"]], Float[Tensor, "batch seq vocab"]],
    tokenizer: PreTrainedTokenizerBase,
    asked: list[Question],
    batch: int = 50,
) -> float:
    """Share of questions whose every answer token is the model's most likely next token.

    Texts are padded on the right, where a causal model cannot see the padding.
    """
    right = 0
    for first in range(0, len(asked), batch):
        part = asked[first : first + batch]
        rows = [tokenizer.encode(question.text) for question in part]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        for question, row, best in zip(part, rows, logits_of(ids).argmax(-1).tolist(), strict=True):
            right += best[question.query : len(row) - 1] == row[question.query + 1 :]
    return right / len(asked)


def main() -> None:
    """Prints one row per task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--questions", type=int, default=1000, help="per task")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model)
    print(f"{'task':44} {'right':>7} {'needed':>7}   ({arguments.questions} held-out questions each)")
    for task in TASKS:
        share = accuracy(lambda ids: model(ids).logits, tokenizer, questions(task, arguments.questions))
        print(f"{task.name:44} {share:7.1%} {task.at_least:7.0%}")


if __name__ == "__main__":
    main()
