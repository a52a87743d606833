"""Whether attention tells what matters: what `attention_and_effect` found of the embedded model.

Reads a file, and needs neither torch nor the model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

FINDINGS_FILE = Path(__file__).parent / "attention_and_effect.jsonl"

REACH = 3
"""How many tokens back the convolution mixes into what a head reads of a token."""


@dataclass(frozen=True)
class Finding:
    """What one held-out question says, of those that the model answers right.

    Effects are of the logit difference: the answer less the most probable other token.
    """

    task: str
    layer: int
    head: int
    """The head whose muting costs most."""
    drop: float
    """What muting it costs."""
    control: float
    """How far a random change of the same size moves the difference."""
    farthest: bool
    """Whether it is the head that looks farthest, by mean distance."""
    first: Mapping[str, bool]
    """By measure: whether the source that it puts first is the one whose cut costs most, or within REACH."""
    correlation: Mapping[str, float]
    """By measure: the rank correlation of its size with that of the effect."""
    sign: Mapping[str, float]
    """By measure: of all that cutting its sources changes, one at a time, the part that goes its sign's way.

    |M| and norms are never negative, and say of every cut that it costs.
    """


def write_findings(findings: Iterable[Finding], file: Path = FINDINGS_FILE) -> None:
    """One question a line."""
    lines = [json.dumps(asdict(finding), ensure_ascii=False) for finding in findings]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_findings(file: Path = FINDINGS_FILE) -> list[Finding]:
    """Question by question."""
    return [Finding(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class TaskFindings:
    """The findings of one task, and their means."""

    name: str
    found: Sequence[Finding]

    @property
    def heads(self) -> list[tuple[tuple[int, int], int]]:
        """Layer and head of those that mattered most, and how often they did, most often first."""
        return Counter((each.layer, each.head) for each in self.found).most_common()

    @property
    def farthest(self) -> int:
        """How often the head that looks farthest was the one that matters most."""
        return sum(each.farthest for each in self.found)

    def first(self, measure: str) -> float:
        """How often a measure puts the right source first, from 0 to 1."""
        return self.mean(lambda each: each.first[measure])

    def correlation(self, measure: str) -> float:
        """A measure's mean rank correlation with the effect."""
        return self.mean(lambda each: each.correlation[measure])

    def mean(self, figure: Callable[[Finding], float]) -> float:
        """The mean over the questions."""
        return fmean(map(figure, self.found))


def by_task(findings: Sequence[Finding]) -> list[TaskFindings]:
    """In the order in which the tasks were asked."""
    names = dict.fromkeys(each.task for each in findings)
    return [TaskFindings(name, [each for each in findings if each.task == name]) for name in names]


Table = Mapping[str, Sequence[str]]
"""Its columns."""


def measures_table(tasks: Sequence[TaskFindings]) -> Table:
    """How often each measure puts the right source first, and its mean rank correlation."""
    measures = list(tasks[0].found[0].first)
    return {"measure": measures} | {
        f"{task.name}, n = {len(task.found)}": [
            f"{task.first(measure):.0%}, {task.correlation(measure):.2f}" for measure in measures
        ]
        for task in tasks
    }


def heads_table(tasks: Sequence[TaskFindings]) -> Table:
    """The heads that matter most, what muting them costs, and the control."""
    return {
        "task": [task.name for task in tasks],
        "heads that matter most (layer, head: times)": [
            "; ".join(f"{layer},\u00a0{head}:\u00a0{times}" for (layer, head), times in task.heads[:4])
            for task in tasks
        ],
        "drop": [f"{task.mean(lambda each: each.drop):.2f}" for task in tasks],
        "random change": [f"{task.mean(lambda each: each.control):.2f}" for task in tasks],
        "farthest": [f"{task.farthest} of {len(task.found)}" for task in tasks],
    }


def in_words(tasks: Sequence[TaskFindings]) -> list[str]:
    """What the findings say, in sentences of Markdown."""
    attention, *_, direct, gradient = tasks[0].found[0].first

    def first(measure: str) -> str:
        return _range([task.first(measure) for task in tasks], ".0%")

    def correlation(measure: str) -> str:
        return _range([task.correlation(measure) for task in tasks], ".2f")

    def sign(measure: str) -> str:
        return _range([task.mean(lambda each: each.sign[measure]) for task in tasks], ".0%")

    heads = [
        f"{task.name}: layer {layer}, head {head} ({times} of {len(task.found)})"
        for task in tasks
        for (layer, head), times in task.heads[:1]
    ]
    drop = _range([task.mean(lambda each: each.drop) for task in tasks], ".1f")
    control = _range([task.mean(lambda each: each.control) for task in tasks], ".1f")
    farthest, asked = sum(task.farthest for task in tasks), sum(len(task.found) for task in tasks)
    return [
        f"**Which source matters?** {attention} puts the right one first in {first(attention)} of a task's "
        f"questions, the {gradient} in {first(gradient)}.",
        f"**In which order?** The mean rank correlation of {attention} with the effect is "
        f"{correlation(attention)}, that of the {gradient} {correlation(gradient)}.",
        f"**For the answer or against it?** {attention} has no sign, so it calls every cut a loss. Of all "
        f"that the cuts change, that is right for {sign(attention)}. The sign of the {direct} is right for "
        f"{sign(direct)}, that of the {gradient} for {sign(gradient)}.",
        f"**Which head matters?** Most often, {'; '.join(heads)}. Without the head that matters most, the "
        f"logit difference falls by {drop}; a random change of the same size moves it by {control}.",
        "**Does looking far matter?** The head that looks farthest, by mean distance, was the one that "
        f"matters most in {farthest} of {asked} questions.",
    ]


def model_card(findings: Sequence[Finding]) -> str:
    """The tables and the sentences, as the model card has them."""
    tasks = by_task(findings)
    tables = "\n".join(map(_as_markdown, (measures_table(tasks), heads_table(tasks))))
    return "\n".join([tables, *(f"* {sentence}" for sentence in in_words(tasks))])


def _as_markdown(table: Table) -> str:
    rows = [list(table), ["---"] * len(table), *zip(*table.values(), strict=True)]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]  # a bar would end the cell
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def _range(values: Sequence[float], form: str) -> str:
    """The lowest and the highest, or the one figure that both come to."""
    return " to ".join(dict.fromkeys(format(end(values), form) for end in (min, max)))
