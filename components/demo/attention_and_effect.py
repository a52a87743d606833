"""Does attention tell what matters? In the embedded model, on questions that training held out.

    python -m components.demo.attention_and_effect

For each question: the head whose muting costs most, and in it every source cut, one at a time. The table
says how often the source that each measure puts first lies within three tokens, the convolution's reach, of
the one whose cut costs most, and the rank correlation of the measure's size with that of the effect. Effects
are of the logit difference, the answer less the most probable other token. Questions that the model answers
wrong have no answer to lose and are left out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.bridge import READINGS, ActivationCache, ModelBridge, rank_correlation, readings, sweep
from components.demo import MODEL_FOLDER
from components.demo.evaluate import TASKS, Question, Task, questions
from components.ssd import CutSource, Edit, Mute, mean_distance

REACH = 3


@dataclass
class Found:
    """What the questions of a task said."""

    asked: int = 0
    first: Counter[str] = field(default_factory=Counter)
    """How often a measure puts the right source first."""
    correlations: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in READINGS})
    heads: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often a head was the most effective."""
    most_distant: int = 0
    """How often the head that looks farthest was that one."""
    effects: list[float] = field(default_factory=list)
    """Of the most effective head."""
    controls: list[float] = field(default_factory=list)
    """Of a random change of the same size."""


def study(bridge: ModelBridge, task: Task, count: int) -> Found:
    """Ask `count` held-out questions."""
    found = Found()
    for question in questions(task, count):
        _ask(bridge, question, found)
    return found


def _ask(bridge: ModelBridge, question: Question, found: Found) -> None:
    ids = bridge.to_tokens("".join(question.words[: question.query + 1]))
    target = int(bridge.to_tokens(question.words[question.query + 1])[0, 0])
    logits, cache = bridge.run_with_cache(ids, logits_to_keep=1)
    first, second = logits[0, -1].topk(2).indices.tolist()
    if first != target:
        return
    found.asked += 1

    def difference(row: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        return row[:, target] - row[:, second]

    clean = float(difference(logits[:, -1]))
    places = [(place.layer, head) for place, heads in bridge.heads.items() for head in range(heads)]
    muted: list[Edit] = [Mute(range(layer, layer + 1), range(head, head + 1)) for layer, head in places]
    of_heads = clean - sweep(bridge, ids, muted, difference)
    control = clean - sweep(bridge, ids, muted, difference, control=torch.Generator().manual_seed(0))
    best = int(of_heads.argmax())
    layer, head = places[best]
    found.heads[places[best]] += 1
    found.effects.append(float(of_heads[best]))
    found.controls.append(float(control[best].abs()))
    found.most_distant += places[_farthest(cache, places)] == places[best]
    at = range(layer, layer + 1), range(head, head + 1)
    cuts: list[Edit] = [CutSource(*at, range(token, token + 1)) for token in range(ids.shape[1])]
    effect = clean - sweep(bridge, ids, cuts, difference)
    most = int(effect.argmax())
    for name, values in readings(bridge, ids, layer, head, target, second).items():
        found.first[name] += abs(int(values.abs().argmax()) - most) <= REACH
        found.correlations[name].append(rank_correlation(values, effect))


def _farthest(cache: ActivationCache, places: list[tuple[int, int]]) -> int:
    """The head with the largest mean distance."""
    by_layer = {layer: mean_distance(cache.ssd_terms(layer)).value[0] for layer in {at for at, _ in places}}
    return int(torch.stack([by_layer[layer][head] for layer, head in places]).argmax())


def main() -> None:
    """Print the tables of the model card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=50, help="per task")
    count = parser.parse_args().questions
    bridge = ModelBridge(
        AutoModelForCausalLM.from_pretrained(MODEL_FOLDER), AutoTokenizer.from_pretrained(MODEL_FOLDER)
    )
    every = {task: study(bridge, task, count) for task in TASKS}
    print(
        "| measure | " + " | ".join(f"{task.name}, n = {found.asked}" for task, found in every.items()) + " |"
    )
    print("|---" * (len(every) + 1) + "|")
    for name in READINGS:
        cells = [
            f"{found.first[name] / found.asked:.0%}, {fmean(found.correlations[name]):.2f}"
            for found in every.values()
        ]
        escaped = name.replace("|", "\\|")  # a bar would end the cell
        print(f"| {escaped} | " + " | ".join(cells) + " |")
    print()
    print("| task | heads that matter most (layer, head: times) | drop | random change | farthest |")
    print("|---|---|---|---|---|")
    for task, found in every.items():
        heads = ", ".join(f"{layer}, {head}: {times}" for (layer, head), times in found.heads.most_common(4))
        print(
            f"| {task.name} | {heads} | {fmean(found.effects):.2f} | {fmean(found.controls):.2f} | "
            f"{found.most_distant} of {found.asked} |"
        )


if __name__ == "__main__":
    main()
