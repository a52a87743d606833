"""What each head of the demo model does: which jump back to a fact, which forget, which hold on.

python -m components.demo.heads
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float32
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.bridge import ModelBridge
from components.demo import MODEL_FOLDER, TASKS, questions
from components.ssd import SSDTerms, decay, effective_attention

LARGEST = 3


def jumps(terms: SSDTerms, query: int, fact: int) -> Bool[Tensor, " head"]:
    """Whether a head's cell at key `fact` is among the three largest |M| of the row of `query`."""
    row = effective_attention(terms, queries=[query])[0, :, 0].abs()
    return (row > row[:, fact, None]).sum(-1) < LARGEST


def survives_sentence(terms: SSDTerms, words: Sequence[str]) -> Float32[Tensor, " head"]:
    """What is left of a sentence's first token at its full stop: L there, mean over the sentences."""
    stops = _full_stops(words)
    starts = [0, *(stop + 1 for stop in stops[:-1])]
    return decay(terms)[0][:, stops, starts].mean(-1)


def survives_stop(terms: SSDTerms, words: Sequence[str]) -> Float32[Tensor, " head"]:
    """What a full stop leaves of everything before it: L over one step, mean over the full stops."""
    stops = _full_stops(words)
    return decay(terms)[0][:, stops, [stop - 1 for stop in stops]].mean(-1)


def survives_text(terms: SSDTerms) -> Float32[Tensor, " head"]:
    """What is left of the text's first token at its last: L there."""
    return decay(terms, queries=[-1], keys=[0])[0, :, 0, 0]


def _full_stops(words: Sequence[str]) -> list[int]:
    """Where the full stops are; ValueError when there are none."""
    stops = [position for position, word in enumerate(words) if word == "."]
    if not stops:
        raise ValueError("The text has no full stop, so there is no sentence to measure. Add one.")
    return stops


def head_table(bridge: ModelBridge, count: int) -> Float32[Tensor, "layer head figure"]:
    """Means over `count` evaluation questions per task.

    The figures: the share of jumps for each of TASKS, then what survives a sentence, the text, a full stop.
    """
    tasks = []
    for task in TASKS:
        of_task = []
        for question in questions(task, count):
            words = question.words[: question.query + 1]
            _, cache = bridge.run_with_cache("".join(words), names_filter=lambda name: "in_proj" in name)
            of_layers = []
            for layer in bridge.ssm_layers():
                terms = cache.ssd_terms(layer)
                figures = (
                    jumps(terms, question.query, question.fact).float(),
                    survives_sentence(terms, words),
                    survives_text(terms),
                    survives_stop(terms, words),
                )
                of_layers.append(torch.stack(figures, dim=-1))
            of_task.append(torch.stack(of_layers))
        tasks.append(torch.stack(of_task).mean(0))
    table = torch.stack(tasks)  # [task, layer, head, figure]
    return torch.cat([table[..., 0].movedim(0, -1), table[..., 1:].mean(0)], dim=-1)


def main() -> None:
    """Prints one row per head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--questions", type=int, default=50, help="per task")
    arguments = parser.parse_args()

    bridge = ModelBridge(
        AutoModelForCausalLM.from_pretrained(arguments.model), AutoTokenizer.from_pretrained(arguments.model)
    )
    print(f"jump: share of {arguments.questions} held-out questions per task in which the cell at the fact")
    print("      is among the three largest of the answer's row")
    print("left: what is left of what a head holds after a sentence, the text, one full stop\n")
    print("             jump                           left")
    print("layer head   where  pairs   copy  story   sentence   text   stop")
    for layer, rows in enumerate(head_table(bridge, arguments.questions).tolist()):
        for head, (where, pairs, copy, story, sentence, text, stop) in enumerate(rows):
            print(
                f"{layer:5} {head:4}  {where:6.0%} {pairs:6.0%} {copy:6.0%} {story:6.0%}   "
                f"{sentence:8.2f} {text:6.2f} {stop:6.2f}"
            )


if __name__ == "__main__":
    main()
