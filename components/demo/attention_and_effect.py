"""Does attention tell what matters? In the embedded model, on questions that training held out.

    python -m components.demo.attention_and_effect

For each question: the head whose muting costs most, and in it every source cut, one at a time. The findings
say how often the source that each measure puts first lies within three tokens, the convolution's reach, of
the one whose cut costs most, the rank correlation of the measure's size with that of the effect, and how much
of the effect has the measure's sign. Effects are of the logit difference, the answer less the most probable
other token. Questions that the model answers wrong have no answer to lose and are left out.

Writes the file of findings that the model card and the page "How to read this" are made from, and prints what
the model card says of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.bridge import ActivationCache, ModelBridge, rank_correlation, readings, sweep
from components.demo import MODEL_FOLDER, TASKS, Question, Task, questions
from components.demo.findings import FINDINGS_FILE, REACH, Finding, model_card, write_findings
from components.ssd import CutSource, Edit, Mute, mean_distance

DIGITS = 4
"""Decimal places of the findings: further ones differ from machine to machine."""


def study(bridge: ModelBridge, task: Task, count: int) -> Iterator[Finding]:
    """What the first `count` held-out questions say, without those that the model answers wrong."""
    for question in questions(task, count):
        finding = _ask(bridge, task, question)
        if finding is not None:
            yield finding


def _ask(bridge: ModelBridge, task: Task, question: Question) -> Finding | None:
    ids = bridge.to_tokens("".join(question.words[: question.query + 1]))
    target = int(bridge.to_tokens(question.words[question.query + 1])[0, 0])
    logits, cache = bridge.run_with_cache(ids, logits_to_keep=1)
    first, second = logits[0, -1].topk(2).indices.tolist()
    if first != target:
        return None

    def difference(row: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        return row[:, target] - row[:, second]

    clean = float(difference(logits[:, -1]))
    places = [(place.layer, head) for place, heads in bridge.heads.items() for head in range(heads)]
    muted: list[Edit] = [Mute(range(layer, layer + 1), range(head, head + 1)) for layer, head in places]
    of_heads = clean - sweep(bridge, ids, muted, difference)
    control = clean - sweep(bridge, ids, muted, difference, control=torch.Generator().manual_seed(0))
    best = int(of_heads.argmax())
    layer, head = places[best]
    at = range(layer, layer + 1), range(head, head + 1)
    cuts: list[Edit] = [CutSource(*at, range(token, token + 1)) for token in range(ids.shape[1])]
    effect = clean - sweep(bridge, ids, cuts, difference)
    measured = readings(bridge, ids, layer, head, target, second)
    return Finding(
        task=task.word,
        layer=layer,
        head=head,
        drop=_rounded(of_heads[best]),
        control=_rounded(control[best].abs()),
        farthest=places[_farthest(cache, places)] == places[best],
        first={
            name: abs(int(values.abs().argmax()) - int(effect.argmax())) <= REACH
            for name, values in measured.items()
        },
        correlation={
            name: round(rank_correlation(values, effect), DIGITS) for name, values in measured.items()
        },
        sign={name: _part(effect, values.sign() == effect.sign()) for name, values in measured.items()},
    )


def _farthest(cache: ActivationCache, places: list[tuple[int, int]]) -> int:
    """The head with the largest mean distance."""
    by_layer = {layer: mean_distance(cache.ssd_terms(layer)).value[0] for layer in {at for at, _ in places}}
    return int(torch.stack([by_layer[layer][head] for layer, head in places]).argmax())


def _part(effect: Float[Tensor, " token"], chosen: Bool[Tensor, " token"]) -> float:
    """Of the sizes of the effects, the part of the chosen ones."""
    sizes = effect.abs()
    return _rounded(sizes[chosen].sum() / sizes.sum())


def _rounded(value: Tensor) -> float:
    return round(float(value), DIGITS)


def main() -> None:
    """Write the findings, and print what the model card says of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=50, help="per task")
    parser.add_argument("--out", type=Path, default=FINDINGS_FILE)
    given = parser.parse_args()
    bridge = ModelBridge(
        AutoModelForCausalLM.from_pretrained(MODEL_FOLDER), AutoTokenizer.from_pretrained(MODEL_FOLDER)
    )
    findings = [finding for task in TASKS for finding in study(bridge, task, given.questions)]
    write_findings(findings, given.out)
    print(model_card(findings))


if __name__ == "__main__":
    main()
