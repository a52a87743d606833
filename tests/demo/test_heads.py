"""The presets show what they promise: a jump to the fact, a short memory, a long one."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch

from components.bridge import ModelBridge
from components.demo.heads import jumps, survives_sentence, survives_stop, survives_text
from components.demo.presets import PRESETS, Preset
from components.ssd import effective_attention
from components.ssd.terms import SSDTerms

ANSWERS = {
    "Where is Mia?": " kitchen",
    "Copy a list": " bread",
    "A short story": " red",
    "A short memory": " candle",
}


def _by_name(name: str) -> Preset:
    return next(preset for preset in PRESETS if preset.name == name)


def _terms(bridge: ModelBridge, preset: Preset) -> SSDTerms:
    _, cache = bridge.run_with_cache(preset.prompt)
    return cache.ssd_terms(preset.layer)


def test_presets_have_unique_names_and_known_answers() -> None:
    assert [preset.name for preset in PRESETS] == list(ANSWERS)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_points_at_its_last_position_and_the_model_answers_it(
    demo_bridge: ModelBridge, preset: Preset
) -> None:
    words = demo_bridge.to_str_tokens(preset.prompt)
    assert len(words) <= 90
    assert preset.query == len(words) - 1
    assert 0 <= preset.head < demo_bridge.model.config.num_heads
    logits, _ = demo_bridge.run_with_cache(preset.prompt)
    assert demo_bridge.to_str_tokens([int(logits[0, -1].argmax())]) == [ANSWERS[preset.name]]


@pytest.mark.parametrize("preset", PRESETS[:3], ids=lambda preset: preset.name)
def test_the_preselected_head_jumps_back_to_the_fact(demo_bridge: ModelBridge, preset: Preset) -> None:
    words = demo_bridge.to_str_tokens(preset.prompt)
    fact = words.index(ANSWERS[preset.name])
    assert preset.query - fact > 8
    assert jumps(_terms(demo_bridge, preset), preset.query, fact)[preset.head]


def test_each_row_of_the_copy_reads_the_next_word_of_the_list(demo_bridge: ModelBridge) -> None:
    preset = _by_name("Copy a list")
    words = demo_bridge.to_str_tokens(preset.prompt)
    copied = range(words.index(" Again") + 2, len(words))
    assert len(copied) == 5
    M = effective_attention(_terms(demo_bridge, preset), heads=[preset.head])[0, 0].abs()
    assert [int(M[query].argmax()) for query in copied] == [words.index(words[q]) + 1 for q in copied]


def test_the_last_preset_shows_a_head_that_forgets_within_a_sentence(demo_bridge: ModelBridge) -> None:
    preset = PRESETS[-1]
    words = demo_bridge.to_str_tokens(preset.prompt)
    terms = _terms(demo_bridge, preset)
    assert survives_sentence(terms, words)[preset.head] < 0.1
    row = effective_attention(terms, heads=[preset.head], queries=[preset.query])[0, 0, 0].abs()
    assert row[:-6].max() < 0.05 * row.max()


def test_the_answer_hangs_on_the_head_that_the_first_preset_names(demo_bridge: ModelBridge) -> None:
    preset = _by_name("Where is Mia?")
    words = demo_bridge.to_str_tokens(preset.prompt)
    fact, answer = words.index(" kitchen"), demo_bridge.to_tokens(" kitchen")[0, -1]

    def without_cell(head: int) -> float:
        def cut(tensor: torch.Tensor, hook: object) -> torch.Tensor:
            tensor[:, head, preset.query, fact] = 0
            return tensor

        name = f"blocks.{preset.layer}.mixer.hook_attention"
        logits = demo_bridge.run_with_hooks(preset.prompt, fwd_hooks=[(name, cut)])
        return float(logits[0, -1].softmax(-1)[answer])

    assert "head 0" in preset.look_for
    assert without_cell(preset.head) > 0.9
    assert without_cell(0) < 0.5


def test_a_head_holds_across_the_whole_default_text(demo_bridge: ModelBridge) -> None:
    _, cache = demo_bridge.run_with_cache(PRESETS[0].prompt)
    held = [survives_text(cache.ssd_terms(layer)).max() for layer in demo_bridge.ssm_layers()]
    assert max(held) > 0.9


def _steady(A: Sequence[float], positions: int) -> SSDTerms:
    """Heads that decay by exp(A) per token and match every key equally."""
    heads = len(A)
    ones = torch.ones(1, positions, 1, 1)
    return SSDTerms.from_parts(
        x=torch.ones(1, positions, heads, 1),
        B=ones,
        C=ones,
        dt=torch.ones(1, positions, heads),
        A=torch.tensor(A),
        D=torch.zeros(heads),
    )


def test_survival_and_jumps_on_heads_that_decay_steadily() -> None:
    terms = _steady([-0.1, -2.0], positions=8)
    words = ["Mia", " sang", ".", " Leo", " sat", " down", ".", " Ana"]
    expected = (torch.tensor([[-0.2, -4.0], [-0.3, -6.0]])).exp().mean(0)
    torch.testing.assert_close(survives_sentence(terms, words), expected)
    torch.testing.assert_close(survives_stop(terms, words), torch.tensor([-0.1, -2.0]).exp())
    torch.testing.assert_close(survives_text(terms), torch.tensor([-0.7, -14.0]).exp())
    assert jumps(terms, query=7, fact=5).tolist() == [True, True]
    assert jumps(terms, query=7, fact=4).tolist() == [False, False]


def test_a_text_without_a_full_stop_has_no_sentence_to_measure() -> None:
    with pytest.raises(ValueError, match="no full stop"):
        survives_sentence(_steady([-1.0], positions=2), ["Mia", " sang"])


def test_the_presets_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, components.demo, components.demo.presets\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
