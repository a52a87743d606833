"""What people pass to a bridge: it is wrapped, or they are told what it is and what to pass instead."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    pipeline,
)
from transformers.models.mamba2 import modeling_mamba2

from components.bridge import ModelBridge
from components.bridge.wrappable import require_wrappable
from tests.families import FAMILY_CASES
from tests.tiny import GOLDEN, random_ids, relative, tiny_model

IDS = random_ids(0, 1, 12)
ONE_OF_EACH = list({case.family: case for case in FAMILY_CASES}.values())


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.family)
def test_a_base_model_has_no_head(case: Any, tmp_path: Path) -> None:
    case.build().save_pretrained(tmp_path)
    base = AutoModel.from_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=rf"{type(base).__name__} has no language-model head.*AutoModelForCausalLM"
    ):
        ModelBridge(base)


def test_a_compiled_model(tmp_path: Path) -> None:
    plain = tiny_model()
    compiled = torch.compile(plain, backend="eager")
    with pytest.raises(ValueError, match=r"OptimizedModule is compiled.*_orig_mod"):
        require_wrappable(compiled)
    bridge = ModelBridge(compiled._orig_mod)
    assert bridge.run_with_cache(IDS)[1].faithfulness(0) <= 5e-6
    plain.backbone.layers[1].compile(backend="eager")
    with pytest.raises(ValueError, match="Mamba2ForCausalLM is compiled"):
        ModelBridge(plain)
    with pytest.raises(ValueError, match="Mamba2ForCausalLM is compiled"):  # after it was wrapped
        bridge.run_with_cache(IDS)
    parts = tiny_model()
    parts.backbone.layers[0] = torch.compile(parts.backbone.layers[0], backend="eager")
    with pytest.raises(ValueError, match="Mamba2ForCausalLM is compiled"):
        ModelBridge(parts)


def test_code_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same class, from a file beside the weights, as some checkpoints bring it."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    tiny_model().save_pretrained(tmp_path)
    source = Path(modeling_mamba2.__file__).read_text(encoding="utf-8")
    source = source.replace("from ... import", "from transformers import").replace(
        "from ...", "from transformers."
    )
    source = source.replace(
        "from .configuration_mamba2", "from transformers.models.mamba2.configuration_mamba2"
    )
    (tmp_path / "modeling_own.py").write_text(source, encoding="utf-8")
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    config.auto_map = {"AutoModelForCausalLM": "modeling_own.Mamba2ForCausalLM"}
    config.save_pretrained(tmp_path)
    remote = AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(remote).__module__.startswith("transformers_modules.")
    with pytest.raises(ValueError, match=r"code from its own repository.*trust_remote_code=False"):
        ModelBridge(remote)
    bridge = ModelBridge(AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=False))
    assert bridge.run_with_cache(IDS)[1].faithfulness(1) <= 5e-6


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.family)
def test_a_model_made_in_inference_mode(case: Any) -> None:
    with torch.inference_mode():
        made = case.build()
    assert next(made.parameters()).is_inference()
    bridge, truth = ModelBridge(made), ModelBridge(case.build())
    first, last = case.mixers[0], case.mixers[-1]
    hooks: list[Any] = [
        (f"blocks.{first}.mixer.hook_x", lambda x, hook: x * 0.5),
        (f"blocks.{last}.mixer.hook_attention", lambda M, hook: M * 0.5),
        *((f"blocks.{layer}.attn.hook_pattern", lambda P, hook: P * 0.5) for layer in case.attentions[:1]),
    ]
    logits, cache = bridge.run_with_cache(IDS, fwd_hooks=hooks)
    expected, other = truth.run_with_cache(IDS, fwd_hooks=hooks)
    assert torch.equal(logits, expected)
    assert set(cache) == set(other)
    assert all(torch.equal(cache[name], other[name]) for name in cache)
    greedy = bridge.generate(IDS, max_new_tokens=3)
    assert torch.equal(greedy, truth.generate(IDS, max_new_tokens=3))
    with pytest.raises(ValueError, match=r"loaded in inference mode.*Load it outside"):
        bridge.run_with_cache(IDS, grad=True)


def test_what_holds_a_model_and_is_none(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "grouped", tmp_path / "model")
    pipe = pipeline("text-generation", str(tmp_path / "model"), device="cpu")
    with pytest.raises(TypeError, match=r"TextGenerationPipeline wraps a model.*Pass its \.model"):
        require_wrappable(pipe)
    with pytest.raises(TypeError, match=r"DataParallel wraps a model.*Pass its \.module"):
        require_wrappable(nn.DataParallel(tiny_model()))
    bridge = ModelBridge(tiny_model())
    with pytest.raises(TypeError, match=r"ModelBridge wraps a model.*Pass its \.model"):
        require_wrappable(bridge)
    with pytest.raises(TypeError, match=r'not a str.*load_bridge\("demo"\)'):
        require_wrappable("demo")
    with pytest.raises(TypeError, match="not a Linear"):
        require_wrappable(nn.Linear(2, 2))


def test_a_bridge_asks_before_anything_else() -> None:
    """Without the check of argument types, which tests alone put around it."""
    construct = inspect.unwrap(ModelBridge.__init__)
    with pytest.raises(TypeError, match=r"^A bridge wraps a model of transformers, not a str\."):
        construct(ModelBridge.__new__(ModelBridge), "demo")


def test_another_head(tmp_path: Path) -> None:
    case = next(case for case in FAMILY_CASES if case.family == "zamba2")
    case.build().save_pretrained(tmp_path)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Zamba2ForSequenceClassification has no language-model head"):
        ModelBridge(classifier)


# Adapters of peft


def adapted() -> peft.PeftModel:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["in_proj"], init_lora_weights=False)
    return peft.get_peft_model(tiny_model(), config)


def test_a_model_with_an_adapter_is_told_what_to_pass() -> None:
    with pytest.raises(ValueError, match=r"adapter of peft.*merge_and_unload\(\).*get_base_model\(\)"):
        require_wrappable(adapted())


def test_an_adapter_put_in_after_wrapping_is_noticed() -> None:
    bridge = ModelBridge(tiny_model())
    bridge.run_with_hooks(IDS)
    config = peft.LoraConfig(r=4, target_modules=["in_proj"], init_lora_weights=False)
    model = peft.get_peft_model(bridge.model, config).eval()
    for run in (
        lambda: bridge.run_with_cache(IDS),
        lambda: bridge.generate(IDS, max_new_tokens=2),
        lambda: next(bridge.stream(IDS, max_new_tokens=2)),
    ):
        with pytest.raises(RuntimeError, match=r"other modules than when it was wrapped.*Wrap it again"):
            run()
    again = ModelBridge(model.get_base_model())
    with torch.no_grad():
        assert torch.equal(again.run_with_hooks(IDS), model(IDS).logits)
    assert again.run_with_cache(IDS)[1].faithfulness(0) <= 5e-6


def test_the_layers_of_an_adapter_are_read() -> None:
    model = adapted().eval()
    with torch.no_grad():
        truth = model(IDS).logits
    bridge = ModelBridge(model.get_base_model())
    logits, cache = bridge.run_with_cache(IDS)
    assert torch.equal(logits, truth)
    assert max(map(cache.faithfulness, bridge.ssm_layers())) <= 5e-6
    merged = ModelBridge(model.merge_and_unload())
    assert relative(merged.run_with_hooks(IDS), truth) <= 1e-5
    assert relative(ModelBridge(tiny_model()).run_with_hooks(IDS), truth) > 1e-2
