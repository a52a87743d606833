"""The knockout of spans, by depth, as `python -m benchmarks.knockout` makes it."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import knockout, knockout_data
from benchmarks.knockout import SPANS, Record, changes, main, question_of, read_records, windows_of
from components.bridge import ModelBridge
from components.models import load_bridge
from tests.tiny import tiny_model

RECORDS = read_records(knockout_data.FILE)


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return load_bridge("demo", device="cpu")


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["knockout", *map(str, arguments)])
    main()
    return capsys.readouterr().out


def test_the_records_are_those_of_the_generator() -> None:
    written = knockout_data.FILE.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written] == knockout_data.records()


def test_spans_hold_the_tokens_that_they_name(bridge: ModelBridge) -> None:
    question = question_of(bridge, RECORDS[0])
    words = bridge.to_str_tokens(question.ids)
    held = {name: [[words[at] for at in part] for part in parts] for name, parts in question.spans.items()}
    assert RECORDS[0].subject == "Ruby is in the castle"
    assert held["subject"] == [[" Ruby", " is", " in", " the", " castle"]]
    before, after = held["relation"]
    assert "".join([*before, *held["subject"][0], *after]) == RECORDS[0].prompt
    assert held["last"] == [[" the"]]
    assert held["first"] == [["Emma"]]
    assert bridge.to_str_tokens([question.target]) == [" castle"]


def test_a_subject_at_either_end_leaves_one_part_of_the_prompt() -> None:
    words = [(0, 3), (3, 6), (6, 9), (9, 12)]
    assert knockout.spans_of(words, "Leo is in th", "Leo")["relation"] == [range(1, 4)]
    assert knockout.spans_of(words, "Leo is in th", "in th")["relation"] == [range(2)]
    # A token counts as the subject's if any of its characters does.
    assert knockout.spans_of(words, "Leo is in th", "o is")["subject"] == [range(2)]


@pytest.mark.parametrize("size", [1, 2])
def test_changes_are_those_of_runs_with_the_cells_of_one_row_set_to_zero(
    bridge: ModelBridge, size: int
) -> None:
    question = question_of(bridge, RECORDS[1])
    last = question.ids.shape[1] - 1
    subject = question.spans["subject"][0]
    keys = {
        "subject": list(subject),
        "relation": [at for at in range(last + 1) if at not in subject],
        "last": [last],
        "first": [0],
    }

    def probability(layers: range, cut: list[int]) -> float:
        def zero(M: torch.Tensor, hook: object) -> None:
            M[0, :, last, cut] = 0

        hooks = [(f"blocks.{layer}.mixer.hook_attention", zero) for layer in layers]
        logits = bridge.run_with_hooks(question.ids, fwd_hooks=hooks)
        return float(logits[0, -1].double().softmax(-1)[question.target])

    clean = probability(range(0), [])
    windows = [range(first, first + size) for first in range(5 - size)]
    assert windows_of(bridge, size) == windows
    expected = [[100 * (probability(each, keys[span]) / clean - 1) for span in SPANS] for each in windows]
    found = changes(bridge, question, windows)
    assert found is not None
    torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-3, rtol=1e-3)


def test_the_answer_is_read_from_its_sentence_where_the_model_card_says(
    bridge: ModelBridge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "figure.html"
    said = printed(monkeypatch, capsys, "--data", knockout_data.FILE, "--limit", 3, "--figure", page)
    assert "windows of 1 of 4 layers, n = 3 of 3 records" in said
    assert re.findall(r"^\| (\w+), % +\| (\w+) +\|" + r" (\w+) +\|" * 4 + "$", said, re.MULTILINE) == [
        ("depth", "layers", *SPANS)
    ]
    rows = [line.strip("| ").split("|") for line in said.splitlines() if re.match(r"\| \d", line)]
    assert [row[0].strip() for row in rows] == ["0", "33", "67", "100"]
    of_record = [changes(bridge, question_of(bridge, each), windows_of(bridge, None)) for each in RECORDS[:3]]
    every = torch.stack([each for each in of_record if each is not None])
    assert [float(row[2].split("±")[0]) for row in rows] == pytest.approx(
        every[..., 0].mean(0).tolist(), abs=0.051
    )
    assert float(rows[2][2].split("±")[1]) == pytest.approx(float(every[:, 2, 0].std()) / 3**0.5, abs=0.051)
    # Layer 2 holds the heads that jump from a question back to its fact.
    assert every[:, 2, 0].max() < -50
    drawn = page.read_text(encoding="utf-8")
    assert "relative depth of the window" in drawn
    assert 'src="http' not in drawn


def test_records_that_cannot_be_asked_are_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good, other = RECORDS[:2]
    rows = [
        (good.prompt, good.subject, good.target.strip()),  # a space before it is added
        (good.prompt, "Ruby was in the castle", good.target),
        (good.subject, good.subject, " now"),
        (good.prompt, good.subject, " "),
        (good.prompt, good.subject, " garden"),  # not what the model says
        (other.prompt, other.subject, other.target),
    ]
    file = tmp_path / "records.csv"
    pd.DataFrame(rows, columns=["prompt", "subject", "target_true"]).to_csv(file)
    monkeypatch.setattr(sys, "argv", ["knockout", "--data", str(file)])
    main()
    said = capsys.readouterr()
    assert "n = 2 of 6 records" in said.out
    left_out = re.findall(r"Record (\d) is left out\. (.*)", said.err)
    assert [number for number, _ in left_out] == ["2", "3", "4"]
    for (_, sentence), part in zip(
        left_out, ["is not in the prompt", "is its subject alone", "adds no token"], strict=True
    ):
        assert part in sentence


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("records.txt", "", "does not end in one of .jsonl"),
        ("records.csv", "prompt,target\na,b\n", "it needs prompt, subject, and one of target, target_true"),
        (
            "records.jsonl",
            '{"prompt": "Mia is", "subject": "Mia", "target": " 17"}\n',
            "answers 0 of these 1 records right",
        ),
    ],
)
def test_a_file_without_anything_to_ask_is_refused(
    name: str,
    text: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(SystemExit, match=said):
        printed(monkeypatch, capsys, "--data", file)


def test_files_of_every_form_are_read_alike(tmp_path: Path) -> None:
    rows = pd.DataFrame([["In 1999 NA", "1999", "7"]], columns=["prompt", "subject", "attribute"])
    rows.to_csv(tmp_path / "a.csv")
    rows.to_json(tmp_path / "a.json", orient="records")
    rows.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    rows.to_parquet(tmp_path / "a.parquet")
    for file in tmp_path.iterdir():
        assert read_records(file) == [Record("In 1999 NA", "1999", "7")], file


def test_windows_are_the_study_s_and_must_fit(bridge: ModelBridge) -> None:
    deep = ModelBridge(tiny_model(num_hidden_layers=10))
    assert windows_of(deep, None) == [range(9), range(1, 10)]
    with pytest.raises(ValueError, match="A window of 5 layers does not fit; this model has 4"):
        windows_of(bridge, 5)
