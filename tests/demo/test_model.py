"""The committed model: its size, its shape and its four figures, on Hugging Face's own forward pass."""

import json

import pytest
from transformers import Mamba2ForCausalLM, PreTrainedTokenizerBase

from components.demo import MODEL_FOLDER, TASKS, Task, questions
from components.demo.evaluate import accuracy


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_model_recalls_what_it_was_never_trained_on(
    demo_model: Mamba2ForCausalLM, demo_tokenizer: PreTrainedTokenizerBase, task: Task
) -> None:
    share = accuracy(lambda ids: demo_model(ids).logits, demo_tokenizer, questions(task, 100))
    assert share >= task.at_least


def test_accuracy_counts_answers_that_are_wrong(
    demo_model: Mamba2ForCausalLM, demo_tokenizer: PreTrainedTokenizerBase
) -> None:
    share = accuracy(lambda ids: -demo_model(ids).logits, demo_tokenizer, questions(TASKS[0], 20))
    assert share == 0


def test_the_model_is_small_and_of_the_promised_shape(demo_model: Mamba2ForCausalLM) -> None:
    files = {path.name: path.stat().st_size for path in MODEL_FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files.keys()
    assert sum(files.values()) <= 8_000_000
    assert isinstance(demo_model, Mamba2ForCausalLM)
    assert 3 <= demo_model.config.num_hidden_layers <= 6
    assert 8 <= demo_model.config.num_heads <= 12
    assert demo_model.config.conv_kernel == 4
    saved = json.loads((MODEL_FOLDER / "config.json").read_text())
    assert saved["architectures"] == ["Mamba2ForCausalLM"]
