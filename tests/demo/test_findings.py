"""Whether attention tells what matters: the file of findings, what is said of it, and a part of it again."""

import dataclasses
from pathlib import Path

import pytest

from components.bridge import READINGS, ModelBridge
from components.demo import TASKS, Task
from components.demo.attention_and_effect import study
from components.demo.findings import (
    Finding,
    by_task,
    heads_table,
    in_words,
    measures_table,
    model_card,
    read_findings,
    write_findings,
)

CARD = Path("components/demo/README.md")
FINDINGS = read_findings()


def test_the_model_card_says_what_was_found() -> None:
    card = (Path(__file__).parents[2] / CARD).read_text(encoding="utf-8")
    assert f"\n{model_card(FINDINGS)}\n" in card


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.word)
def test_a_question_asked_again_says_the_same(demo_bridge: ModelBridge, task: Task) -> None:
    (again,) = study(demo_bridge, task, 1)
    found = next(each for each in FINDINGS if each.task == task.word)
    assert tuple(found.first) == READINGS
    close = {name: pytest.approx(getattr(found, name), abs=2e-3) for name in ("drop", "control")}
    close |= {name: pytest.approx(getattr(found, name), abs=2e-2) for name in ("correlation", "sign")}
    for name, value in dataclasses.asdict(again).items():
        assert value == close.get(name, getattr(found, name)), name


def finding(task: str, head: int, right: bool, correlation: float) -> Finding:
    """One whose measures are all alike."""
    return Finding(
        task=task,
        layer=1,
        head=head,
        drop=2.0 * head,
        control=0.5,
        farthest=right,
        first=dict.fromkeys(READINGS, right),
        correlation=dict.fromkeys(READINGS, correlation),
        sign=dict.fromkeys(READINGS, 0.75),
    )


def test_tables_and_sentences_are_of_the_means(tmp_path: Path) -> None:
    found = [finding("one", 3, True, 0.5), finding("one", 3, False, 0.25), finding("one", 1, False, 0.0)]
    found.append(finding("two", 5, True, -1.0))
    write_findings(found, tmp_path / "findings")
    tasks = by_task(read_findings(tmp_path / "findings"))
    table = measures_table(tasks)
    assert list(table) == ["measure", "one, n = 3", "two, n = 1"]
    assert table["one, n = 3"] == ["33%, 0.25"] * len(READINGS)
    assert table["two, n = 1"] == ["100%, -1.00"] * len(READINGS)
    assert list(heads_table(tasks).values()) == [
        ["one", "two"],
        ["1,\u00a03:\u00a02; 1,\u00a01:\u00a01", "1,\u00a05:\u00a01"],
        ["4.67", "10.00"],
        ["0.50", "0.50"],
        ["1 of 3", "1 of 1"],
    ]
    said = "\n".join(in_words(tasks))
    assert "|M| puts the right one first in 33% to 100% of a task's questions" in said
    assert "of |M| with the effect is -1.00 to 0.25" in said
    assert "that is right for 75%." in said
    assert "one: layer 1, head 3 (2 of 3); two: layer 1, head 5 (1 of 1)" in said
    assert "falls by 4.7 to 10.0; a random change of the same size moves it by 0.5." in said
    assert "in 2 of 4 questions" in said
